#!/usr/bin/env bash
# Watches for the end of a spot instance on AWS and leaves the cluster in time: EC2 announces it two minutes before, in the
# instance's metadata. Runs until then; started in the background by cluster.yaml on every worker.
set -euo pipefail
metadata=http://169.254.169.254/latest
margin=5 # seconds kept of those that the notice gives

exec 9>~/.spot.lock
flock --nonblock 9 || exit 0 # one watcher on a machine, however often Ray is started

notice() { # prints the notice; fails while there is none, or no metadata
    local token
    token=$(curl --silent --fail --max-time 2 --request PUT --header "X-aws-ec2-metadata-token-ttl-seconds: 60" \
        "$metadata/api/token") &&
        curl --silent --fail --max-time 2 --header "X-aws-ec2-metadata-token: $token" \
            "$metadata/meta-data/spot/instance-action"
}

until found=$(notice); do
    sleep 5 # as often as AWS recommends
done
echo "$(date --iso-8601=seconds) spot notice: $found"
# {"action": "terminate", "time": "2026-11-28T08:22:00Z"}
end=$(sed -E 's/.*"time" *: *"([^"]+)".*/\1/' <<<"$found")
left=$(($(date --date "$end" +%s) - $(date +%s) - margin))
exec "$(dirname "$0")/leave.sh" "$((left > 0 ? left : 0))"
