"""SIGKILL of a whole node of a Ray cluster, and a node that joins late.

A head without cores and worker nodes of one core each, at loopback addresses of their own.
"""

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from sweeps.paths import SweepPaths
from tests.faults.soak import HOUR, SOAK
from tests.processes import kill, marked
from tests.sweeps.machine import PATIENCE_SECONDS, SMALL, Machine, machine_of

pytestmark = [pytest.mark.ray, pytest.mark.timeout(HOUR if SOAK else 900)]

TRIALS, KILLS = (60, 5) if SOAK else (8, 1)
EPOCHS = 800 if SOAK else 60
LONGEST_SECONDS = HOUR / 2 if SOAK else PATIENCE_SECONDS
MINUTE = 60.0
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid.uuid4().hex}
_QUICK = {"RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "4"}
"""A dead node is noticed in two seconds rather than fifteen."""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with machine_of(tmp_path / "root", environment=TOKEN) as made:
        yield made


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


@pytest.fixture
def head() -> Iterator[str]:
    """The address of a cluster without worker nodes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ("--head", "--port", str(port), "--include-dashboard", "false")
    with node(*options, cpus=0, host="127.0.0.1"):
        yield f"127.0.0.1:{port}"


def trains(mark: Mapping[str, str]) -> bool:
    """Whether a pack is in training on a node."""
    return any("Trainable.train" in command for command in marked(mark).values())


def test_a_node_that_dies_costs_new_attempts_and_one_that_joins_late_is_used(machine: Machine, head: str) -> None:
    with ExitStack() as others, ExitStack() as doomed:
        if SOAK:  # else the one that dies is the last, and the sweep lasts until another joins, however fast it is
            others.enter_context(node("--address", head, cpus=1, host="127.0.0.2"))
        last = doomed.enter_context(node("--address", head, cpus=1, host="127.0.0.3"))
        size = ("--trials", str(TRIALS), "--lanes", "2", "--address", head)
        driver = machine.sweep("--name", "nodes", *size, changes=[*SMALL, f"fixed.epochs={EPOCHS}"])
        machine.wait(lambda: machine.started("nodes", driver), driver)
        for kills in range(KILLS):
            machine.wait(lambda: trains(last), driver)  # noqa: B023
            if SOAK:
                time.sleep(MINUTE)
            doomed.close()
            last = doomed.enter_context(node("--address", head, cpus=1, host=f"127.0.0.{4 + kills}"))
        machine.wait(lambda: trains(last), driver)
        done = machine.end(driver, within_seconds=LONGEST_SECONDS)
        assert done.code == 0, done.err
        assert "Traceback" not in done.err
        rows = machine.check("nodes", TRIALS)
        assert {row["state"] for row in rows} == {"finished"}
        assert "lost 2 trials" in SweepPaths(machine.root, "nodes").log.read_text()


@pytest.mark.skipif(not SOAK, reason="whether a node joins in time depends on the machine's speed: see make soak")
def test_nodes_that_join_late_are_used_beside_those_that_were_there(machine: Machine, head: str) -> None:
    with ExitStack() as nodes:
        first = nodes.enter_context(node("--address", head, cpus=1, host="127.0.0.2"))
        size = ("--trials", "12", "--lanes", "2", "--address", head)
        driver = machine.sweep("--name", "grows", *size, changes=[*SMALL, f"fixed.epochs={EPOCHS}"])
        machine.wait(lambda: trains(first), driver)
        late = nodes.enter_context(node("--address", head, cpus=1, host="127.0.0.3"))
        machine.wait(lambda: trains(late), driver)
        done = machine.end(driver)
        assert done.code == 0, done.err
        assert {row["state"] for row in machine.check("grows", 12)} == {"finished"}
