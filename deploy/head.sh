#!/usr/bin/env bash
# Sets up a head (Debian or Ubuntu): PostgreSQL for MLflow and the study, and MLflow's server, for this machine alone.
# What it did once it does not do again.
#
#   deploy/head.sh ARTIFACTS    where MLflow keeps files: a folder, or s3://bucket/prefix
set -euo pipefail
cd "$(dirname "$0")/.."
artifacts=${1:?where MLflow keeps files: a folder, or s3://bucket/prefix}
user=$(id --user --name)

if ! command -v psql >/dev/null; then
    sudo apt-get update
    sudo DEBIAN_FRONTEND=noninteractive apt-get install --yes postgresql
fi
as_postgres() { sudo -u postgres psql --no-psqlrc --tuples-only --no-align --set=ON_ERROR_STOP=1 --command "$1"; }
# The role has no password: PostgreSQL knows who asks by the system's user, through a socket of this machine.
[ "$(as_postgres "select 1 from pg_roles where rolname = '$user'")" = 1 ] || as_postgres "create role \"$user\" login"
for database in mlflow sweeps; do
    [ "$(as_postgres "select 1 from pg_database where datname = '$database'")" = 1 ] ||
        as_postgres "create database $database owner \"$user\""
done

port=5000
if ! curl --silent --fail --output /dev/null "http://127.0.0.1:$port/health"; then
    nohup .venv/bin/mlflow server --host 127.0.0.1 --port "$port" \
        --backend-store-uri "postgresql+psycopg:///mlflow?host=/var/run/postgresql" \
        --artifacts-destination "$artifacts" \
        </dev/null >~/mlflow.log 2>&1 &
fi
