#!/usr/bin/env bash
# Installs Debian packages, also on a machine that has just booted: its own upgrades hold apt's locks for minutes.
#
#   deploy/packages.sh PACKAGE...
set -euo pipefail

as_root=()
[ "$(id --user)" = 0 ] || as_root=(sudo)
for program in apt-get "${as_root[@]}"; do
    if ! command -v "$program" >/dev/null; then
        echo "deploy/packages.sh: needs $*, but has no $program to install it. Install it by hand, then run this again." >&2
        exit 1
    fi
done

said=$(mktemp)
trap 'rm -f "$said"' EXIT
# apt's own waiting (DPkg::Lock::Timeout) is for one of its three locks alone.
apt() {
    until "${as_root[@]}" env LC_ALL=C DEBIAN_FRONTEND=noninteractive apt-get --quiet "$@" 2>&1 | tee "$said"; do
        grep --quiet "Could not get lock" "$said" && [ $SECONDS -lt 1800 ] || return 1
        sleep 3
    done
}
apt update
apt install --yes "$@"
