"""A node as the files of deploy/ make one: its own checkout, its own packages."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def node_checkout(pytestconfig: pytest.Config) -> Path:
    """A copy of this checkout that `deploy/node.sh` has set up: with the packages of a node, none for development.

    Installing takes minutes, so it is kept in pytest's cache until the list of packages changes. A second process of
    tests waits for the first to have installed it.
    """
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    asked = [project["dependencies"], project["optional-dependencies"]["cluster"], sys.version]
    said = json.dumps(asked) + (REPOSITORY / "constraints.txt").read_text()
    key = hashlib.sha256(said.encode()).hexdigest()[:16]
    cache = pytestconfig.cache
    if cache is None:
        pytest.skip("no node's environment: it is kept in pytest's cache, which is switched off here")
    checkout = cache.mkdir("node") / key
    with checkout.with_name(f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _set_up(checkout)
    return checkout


def _set_up(checkout: Path) -> None:
    listed = ["git", "-C", REPOSITORY, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\0")
    checkout.mkdir(exist_ok=True)
    for old in checkout.iterdir():
        if old.is_dir() and old.name != ".venv":
            shutil.rmtree(old)
    for name in filter(None, names):
        if (REPOSITORY / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, checkout / name)
    home = checkout.with_name(f"{checkout.name}-home")
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        [checkout / "deploy/node.sh"],
        # Most of what is installed is never imported: what is, Python compiles then.
        env={**os.environ, "HOME": str(home), "PYTHON": sys.executable, "PIP_COMPILE": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
