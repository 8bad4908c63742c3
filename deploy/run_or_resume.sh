#!/usr/bin/env bash
# Starts a sweep, or goes on with it where it was cut off: the one command of a job that may be started again.
#
#   deploy/run_or_resume.sh NAME SPACE [OPTION...] [-- OPTION of `sweeps run` alone...]
#   deploy/run_or_resume.sh mnist fcn_mnist --address auto -- --trials 256 --set fixed.epochs=40
set -euo pipefail

name=${1:?the name of the sweep} space=${2:?its search space}
shift 2
both=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    both+=("$1")
    shift
done
[ $# -eq 0 ] || shift

# With SWEEPS_ROOT, not --root, all commands of a job find the same sweep.
if sweeps status "$name" >/dev/null 2>&1; then
    exec sweeps resume "$name" "${both[@]}"
fi
exec sweeps run "$space" --name "$name" "${both[@]}" "$@"
