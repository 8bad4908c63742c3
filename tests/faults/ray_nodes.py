"""Nodes of a Ray cluster on this machine: a head without cores, workers at loopback addresses of their own."""

import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.processes import kill, marked

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid.uuid4().hex}
_QUICK = {"RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "4"}
"""A dead node is noticed in two seconds rather than fifteen."""


@contextmanager
def node(*options: str, cpus: int, host: str) -> Iterator[Mapping[str, str]]:
    """One node; yields the mark of its processes, which are killed at the end."""
    mark = {"SWEEPS_TEST_NODE": uuid.uuid4().hex}
    command = [str(Path(sys.executable).with_name("ray")), "start", *options, "--num-cpus", str(cpus)]
    environment = os.environ | mark | _QUICK | TOKEN | {"CUDA_VISIBLE_DEVICES": ""}
    try:
        done = subprocess.run(
            [*command, "--node-ip-address", host, "--object-store-memory", str(128 * 2**20), "--disable-usage-stats"],
            env=environment, capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        yield mark
    finally:
        kill(marked(mark))


@contextmanager
def head_node() -> Iterator[str]:
    """A cluster without worker nodes; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ("--head", "--port", str(port), "--include-dashboard", "false")
    with node(*options, cpus=0, host="127.0.0.1"):
        yield f"127.0.0.1:{port}"


def trains(mark: Mapping[str, str]) -> bool:
    """Whether a pack is in training on a node."""
    return any("Trainable.train" in command for command in marked(mark).values())
