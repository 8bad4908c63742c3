"""A node as the files of deploy/ make one: its own checkout, its own packages."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("pyproject.toml", "constraints.txt", "Makefile")
"""The files that say what is installed on a node."""


@pytest.fixture(scope="session")
def node_checkout(pytestconfig: pytest.Config) -> Path:
    """A copy of this checkout that `deploy/node.sh` has set up: with the packages of a node, none for development.

    Installing takes minutes, so it is kept in pytest's cache until the list of packages changes.
    """
    said = b"".join((REPOSITORY / name).read_bytes() for name in PACKAGES)
    key = hashlib.sha256(said + sys.version.encode()).hexdigest()[:16]
    cache = pytestconfig.cache
    if cache is None:
        pytest.skip("no node's environment: it is kept in pytest's cache, which is switched off here")
    checkout = cache.mkdir("node") / key
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
    home = checkout.with_name(f"{key}-home")
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        [checkout / "deploy/node.sh"],
        env={**os.environ, "HOME": str(home), "PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return checkout
