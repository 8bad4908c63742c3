"""SIGKILL of worker processes."""

import os
import time
from collections.abc import Iterator

import pytest

from sweeps.store.paths import SweepPaths
from tests.processes import kill
from tests.sweeps.machine import SMALL, Machine, machine_of

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

TRIALS = 8
CPUS = max(1, (os.cpu_count() or 1) // 4)
"""At most some four packs at a time, on any machine."""


@pytest.fixture
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine_of(tmp_path_factory.mktemp("root")) as made:
        yield made


def test_workers_that_are_killed_cost_a_new_attempt_and_nothing_else(machine: Machine) -> None:
    size = ("--trials", str(TRIALS), "--lanes", "2", "--cpus-per-pack", str(CPUS))
    driver = machine.sweep("--name", "hurt", *size, changes=[*SMALL, "fixed.epochs=120"])

    def kill_workers() -> bool:
        # Until it tells: all of them may be between two packs, and nothing would be lost with them.
        kill(
            pid
            for pid, command in machine.processes().items()
            if command.startswith("ray::") and "Trainable" in command
        )
        time.sleep(1)
        return "the worker process died" in SweepPaths(machine.root, "hurt").log.read_text()

    machine.wait(lambda: machine.started("hurt", driver), driver)
    machine.wait(lambda: machine.status("hurt")["trials"]["finished"] >= 2, driver)
    machine.wait(kill_workers, driver)
    done = machine.end(driver)
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    rows = machine.check("hurt", TRIALS)
    assert {row["state"] for row in rows} == {"finished"}
