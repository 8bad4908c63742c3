#!/usr/bin/env bash
# A Ray node of a Slurm job: `ray start` with these words for as long as standard input is open; then nothing of it is
# left. Writes a line to standard output once the node has joined.
set -euo pipefail

stopped=no
trap 'stopped=yes' TERM # Slurm ends the job, and sends the same to Ray
folder=$(mktemp --directory "/tmp/ray-$SLURM_JOB_ID.XXXXXX")
trap 'rm -rf "$folder"' EXIT
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0 # nothing trains any more when standard input ends

cat <&0 >/dev/null &
input=$!
is_wanted() { [ "$stopped" = no ] && kill -0 "$input" 2>/dev/null; }

# With --no-kill a job outlives its first node, but its script and driver are gone: a worker queues it again.
next_look=60
look_for_head() {
    local head=$1 nodes
    ((SECONDS > next_look)) || return 0
    next_look=$((SECONDS + 60))
    nodes=$(squeue --noheader --jobs "$SLURM_JOB_ID" --format %N) || return 0
    if [ -n "$nodes" ] && ! scontrol show hostnames "$nodes" | grep -qx "$head"; then
        echo "ray_node.sh: the job has lost its first node, $head: queueing it again" >&2
        scontrol requeue "$SLURM_JOB_ID" || true # another worker may have done it
    fi
}

for _ in 1 2 3; do # Ray gives up a node that takes more than half a minute to start
    ray start --block --temp-dir "$folder" "$@" >"$folder/start.log" 2>&1 &
    ray=$!
    joined=no
    while is_wanted && kill -0 "$ray" 2>/dev/null; do
        if [ "$joined" = no ] && [ -e "$folder/ray_current_cluster" ]; then # what `ray start` writes at its end
            joined=yes
            echo "$SLURMD_NODENAME has joined"
        fi
        [ "$1" != --address ] || look_for_head "${2%:*}"
        sleep 0.5
    done
    ! is_wanted || [ "$joined" = yes ] || continue
    break
done
if is_wanted; then
    cat "$folder/start.log" >&2
    echo "ray_node.sh: Ray ended on $SLURMD_NODENAME" >&2
    while [ "$joined" = yes ] && [ "$1" = --address ] && is_wanted; do # did it end because the head is lost?
        look_for_head "${2%:*}"
        sleep 0.5
    done
    kill "$input" 2>/dev/null || true
    exit 1
fi
kill "$ray" 2>/dev/null || true
wait "$ray" 2>/dev/null || true
