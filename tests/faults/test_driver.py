"""SIGKILL of the driver, at random moments of its work."""

import random
import time
from collections.abc import Iterator

import pytest

from tests.faults.soak import HOUR, SOAK
from tests.sweeps.machine import AGENTS_SECONDS, SMALL, Machine, machine_of

pytestmark = [pytest.mark.ray, pytest.mark.timeout(HOUR if SOAK else 900)]

TRIALS, KILLS = (60, 20) if SOAK else (18, 2)
# Few trials in training at a time, so that the work lasts for all kills.
SIZE = ("--trials", str(TRIALS), "--lanes", "1" if SOAK else "3")
CHANGES = [*SMALL, f"fixed.epochs={20 if SOAK else 40}"]
SAME = ("trial", "state", "epochs_done", "val_accuracy", "remaining", "val_loss", "test_accuracy", "seed")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    # Nobody is left to stop Ray after a SIGKILL. Two of its agents first look a minute for their dead head, then go.
    with machine_of(tmp_path_factory.mktemp("root"), within_seconds=AGENTS_SECONDS) as made:
        yield made


def test_a_driver_that_is_killed_again_and_again_loses_nothing_and_ends_as_one_that_was_not(machine: Machine) -> None:
    chance, kept, name = random.Random(11), {}, "killed"
    driver = machine.sweep("--name", name, *SIZE, changes=CHANGES)
    for _ in range(KILLS):
        enough = len(kept) + chance.randrange(3 if SOAK else TRIALS // (KILLS + 1))
        machine.wait(lambda: machine.started(name, driver), driver)  # noqa: B023
        machine.wait(lambda: machine.status(name)["trials"]["finished"] >= enough, driver)  # noqa: B023
        time.sleep(chance.random())
        assert driver.poll() is None, "the sweep was over before it could be killed"
        driver.kill()
        machine.end(driver)
        assert machine.status(name)["state"] == "died"
        found = {row["trial"]: row for row in machine.rows(name)}
        assert {trial: found[trial] for trial in kept} == kept
        kept = found
        driver = machine.begin("resume", name, "--lanes", SIZE[-1])
    done = machine.end(driver)
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    rows = machine.check(name, TRIALS)
    assert {row["trial"]: row for row in rows if row["trial"] in kept} == kept

    undisturbed = machine.end(machine.sweep("--name", "undisturbed", *SIZE, changes=CHANGES))
    assert undisturbed.code == 0, undisturbed.err
    for row, other in zip(rows, machine.rows("undisturbed"), strict=True):
        assert [row[column] for column in SAME] == [other[column] for column in SAME]
    assert done.out.split("\n", 1)[1] == undisturbed.out.split("\n", 1)[1]  # the tables of both fronts
