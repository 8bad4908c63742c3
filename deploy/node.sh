#!/usr/bin/env bash
# Sets up a node, head or worker: this project's packages in .venv, on the PATH of every shell, Ray asking for its token.
# What it did once it does not do again.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

missing=()
for program in git make; do
    command -v "$program" >/dev/null || missing+=("$program")
done
# Debian keeps a part of Python's venv in a package of its own.
[ -e .venv/.installed ] || "$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=("$(basename "$python")-venv")
[ ${#missing[@]} = 0 ] || deploy/packages.sh "${missing[@]}"

make --silent .venv/.installed-cluster PYTHON="$python"

mark="# signed-supermask-sweeps"
grep -qsF "$mark" ~/.bashrc || cat >>~/.bashrc <<END
$mark
export PATH="$PWD/.venv/bin:\$PATH" RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
END
