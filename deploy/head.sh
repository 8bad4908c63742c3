#!/usr/bin/env bash
# Sets up a head (Debian or Ubuntu): PostgreSQL for MLflow and the study, and MLflow's server, for this machine alone.
# What it did once it does not do again; what does not run it starts.
#
#   deploy/head.sh ARTIFACTS    where MLflow keeps files: a folder, or s3://bucket/prefix
set -euo pipefail
cd "$(dirname "$0")/.."
artifacts=${1:?where MLflow keeps files: a folder, or s3://bucket/prefix}
user=$(id --user --name)

missing=()
command -v psql >/dev/null || missing+=(postgresql)
command -v curl >/dev/null || missing+=(curl)
[ ${#missing[@]} = 0 ] || deploy/packages.sh "${missing[@]}"
pg_isready --quiet || sudo service postgresql start

as_postgres() (
    cd / # where that user may be
    sudo -u postgres psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --command "$1"
)
# The role has no password: PostgreSQL knows who asks by the system's user, through a socket of this machine.
[ "$(as_postgres "select 1 from pg_roles where rolname = '$user'")" = 1 ] || as_postgres "create role \"$user\" login"
for database in mlflow sweeps; do
    [ "$(as_postgres "select 1 from pg_database where datname = '$database'")" = 1 ] ||
        as_postgres "create database $database owner \"$user\""
done

address=127.0.0.1 port=5000 log=~/mlflow.log
answers() { curl --silent --fail --max-time 10 --output /dev/null "http://$address:$port/health"; }
if ! answers; then
    # Its jobs are for language models: eight processes that no sweep needs.
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false nohup .venv/bin/mlflow server --host $address --port $port \
        --backend-store-uri "postgresql+psycopg:///mlflow?host=/var/run/postgresql" \
        --artifacts-destination "$artifacts" \
        </dev/null >$log 2>&1 &
    server=$! end=$((SECONDS + 600))
    until answers; do
        fault=
        kill -0 $server 2>/dev/null || fault="has ended"
        [ $SECONDS -lt $end ] || fault="does not answer"
        if [ -n "$fault" ]; then
            kill $server 2>/dev/null || true
            printf '%s\n' "deploy/head.sh: MLflow's server on $address:$port $fault. The end of $log:" "$(tail -n 20 $log)" >&2
            exit 1
        fi
        sleep 0.5
    done
fi
