#!/usr/bin/env bash
# Tells Ray that this machine is about to go: nothing new is scheduled here, and a sweep's driver calls back its packs, which
# write a checkpoint and continue elsewhere. Returns once nothing runs here any more: Ray then ends its node by itself.
#
#   deploy/leave.sh SECONDS    until the machine goes; if work is left by then, it returns with code 1
#
# Called when a spot instance is reclaimed (deploy/spot.sh) and as preStop hook of a pod (deploy/kuberay.yaml).
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-}
if ! [[ $seconds =~ ^(0|[1-9][0-9]*)$ ]]; then
    echo "leave.sh: SECONDS must be a whole number, but got '$seconds'. Write for instance: deploy/leave.sh 100" >&2
    exit 2
fi
PATH=$PWD/.venv/bin:$PATH
until=$((SECONDS + seconds))

raylets=()
for folder in /proc/[0-9]*; do
    # Processes come and go while this looks. A raylet's arguments hold its node's id and the address of the head.
    mapfile -d '' -t words 2>/dev/null <"$folder/cmdline" || continue
    [[ ${words[0]:-} == */raylet ]] || continue
    node='' head=''
    for word in "${words[@]}"; do
        case $word in
        --node_id=*) node=${word#*=} ;;
        --gcs-address=*) head=${word#*=} ;;
        esac
    done
    if ! timeout 30 ray drain-node --address "$head" --node-id "$node" --deadline-remaining-seconds "$seconds" \
        --reason DRAIN_NODE_REASON_PREEMPTION --reason-message "leave.sh: this machine goes"; then
        echo "leave.sh: the head at $head did not take the message that this machine goes" >&2
        exit 1
    fi
    raylets+=("$folder")
done
if [ ${#raylets[@]} -eq 0 ]; then
    echo "leave.sh: no Ray node runs on this machine, nothing to leave" >&2
    exit 0
fi

for folder in "${raylets[@]}"; do
    # A process that has ended but was not yet waited for has no arguments.
    while read -r -d '' _ 2>/dev/null <"$folder/cmdline"; do
        if ((SECONDS >= until)); then
            echo "leave.sh: after $seconds s work is still running here; it is lost with the machine" >&2
            exit 1
        fi
        sleep 0.5
    done
done
