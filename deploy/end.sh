#!/usr/bin/env bash
# Ends the sweeps that this machine drives, in order: each writes checkpoints of what it trains, and can be resumed. Returns
# when they have ended, or when the time is up.
#
#   deploy/end.sh SECONDS
#
# The preStop hook of a head's pod (deploy/kuberay.yaml): Ray would kill the driver at once when the pod is told to end.
set -euo pipefail
seconds=${1:-}
if ! [[ $seconds =~ ^[0-9]+$ ]]; then
    echo "end.sh: SECONDS must be a whole number, but got '$seconds'. Write for instance: deploy/end.sh 90" >&2
    exit 2
fi

drivers='/sweeps (run|resume|confirm) '
pkill --signal TERM --full "$drivers" || exit 0 # there is none
until=$((SECONDS + seconds))
while pgrep --full "$drivers" >/dev/null; do
    if ((SECONDS >= until)); then
        echo "end.sh: after $seconds s a sweep is still being driven here; it continues from earlier checkpoints" >&2
        exit 1
    fi
    sleep 0.2
done
