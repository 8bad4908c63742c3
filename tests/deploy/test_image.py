"""The image of deploy/Dockerfile: what its one `pip install` brings."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.soak import in_soak

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy/Dockerfile"
PATIENCE_SECONDS = 1200


def run_lines() -> list[list[str]]:
    lines = DOCKERFILE.read_text().splitlines()
    return [shlex.split(line.removeprefix("RUN ")) for line in lines if line.startswith("RUN ")]


def pip_lines() -> list[list[str]]:
    return [line[4:] for line in run_lines() if line[:4] == ["python", "-m", "pip", "install"]]


def packages(*words: str) -> dict[str, str]:
    """The packages that `pip install` would bring into an empty environment, with their versions."""
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    done = subprocess.run(
        [*pip, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )
    if done.returncode and any(sign in done.stderr for sign in ("NewConnectionError", "NameResolutionError")):
        pytest.skip(f"no package index: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    installed = [package["metadata"] for package in json.loads(done.stdout)["install"]]
    return {package["name"].lower().replace("_", "-"): package["version"] for package in installed}


@pytest.mark.cluster
@in_soak  # downloads what a node needs once more
@pytest.mark.timeout(PATIENCE_SECONDS + 100)
def test_the_image_has_rays_http_server_and_the_clients_of_databases_and_buckets_as_pinned() -> None:
    (words,) = pip_lines()
    brought = packages(*words)
    for of_ray in ("aiohttp", "aiohttp-cors", "colorful", "opencensus", "prometheus-client", "virtualenv"):
        assert of_ray in brought
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    for name in ("ray", "psycopg", "psycopg-binary", "boto3", "torch"):
        assert brought[name] == pinned[name]
    assert "pytest" not in brought


def test_the_image_installs_what_a_node_installs() -> None:
    (words,) = pip_lines()
    assert words == ["--no-cache-dir", "-c", "constraints.txt", ".[cluster]"]
    assert '--constraint constraints.txt --editable ".[cluster]"\n' in (ROOT / "Makefile").read_text()


def test_the_image_has_the_programs_that_hooks_and_compilers_call_and_does_not_run_as_root() -> None:
    (apt,) = (line for line in run_lines() if "apt-get" in line)
    assert {"g++", "procps"} <= set(apt)
    assert DOCKERFILE.read_text().rstrip().endswith("\nUSER 1000")
