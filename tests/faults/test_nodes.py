"""SIGKILL of a whole node of a Ray cluster, and a node that joins late."""

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sweeps.store.paths import SweepPaths
from tests.faults.ray_nodes import TOKEN, head_node, node, trains
from tests.faults.soak import HOUR, SOAK
from tests.sweeps.machine import PATIENCE_SECONDS, SMALL, Machine, machine_of

pytestmark = [pytest.mark.ray, pytest.mark.timeout(HOUR if SOAK else 900)]

TRIALS, KILLS = (60, 5) if SOAK else (8, 1)
EPOCHS = 800 if SOAK else 60
LONGEST_SECONDS = HOUR / 2 if SOAK else PATIENCE_SECONDS
MINUTE = 60.0


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with machine_of(tmp_path / "root", environment=TOKEN) as made:
        yield made


@pytest.fixture
def head() -> Iterator[str]:
    with head_node() as address:
        yield address


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
        assert re.search(r"lost trials \d+, \d+:", SweepPaths(machine.root, "nodes").log.read_text())


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
