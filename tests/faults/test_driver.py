"""SIGKILL of the driver, at random moments of its work."""

import random
import re
import time
from collections.abc import Iterator

import pytest

from sweeps import results
from sweeps.store.paths import SweepPaths
from tests.faults.soak import HOUR, SOAK
from tests.sweeps.machine import AGENTS_SECONDS, SMALL, Machine, machine_of

pytestmark = [pytest.mark.ray, pytest.mark.timeout(HOUR if SOAK else 900)]

TRIALS, KILLS = (60, 20) if SOAK else (18, 2)
MORE = 2
# Few trials in training at a time, so that the work lasts for all kills.
SIZE = ("--trials", str(TRIALS), "--lanes", "1" if SOAK else "3")
CHANGES = [*SMALL, f"fixed.epochs={20 if SOAK else 40}"]
SAME = ("trial", "state", "epochs_done", "val_accuracy", "remaining", "val_loss", "test_accuracy", "seed")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    # Nobody is left to stop Ray after a SIGKILL. Two of its agents first look a minute for their dead head, then go.
    with machine_of(tmp_path_factory.mktemp("root"), within_seconds=AGENTS_SECONDS) as made:
        yield made


def attempts_of(machine: Machine, name: str) -> dict[int, int]:
    """The last attempt of each trial that has an epoch in Parquet."""
    epochs = results.load_epochs(machine.root, name, latest_attempt=False).select(["trial", "attempt"]).to_pylist()
    return {row["trial"]: row["attempt"] for row in sorted(epochs, key=lambda row: row["attempt"])}


def test_a_driver_that_is_killed_again_and_again_loses_nothing_and_ends_as_one_that_was_not(machine: Machine) -> None:
    """At first nothing is long enough for a checkpoint; then each epoch ends with one, and at last more is asked."""
    chance, name = random.Random(11), "killed"
    paths, kept, attempts, log = SweepPaths(machine.root, name), {}, {}, ""
    driver = machine.sweep("--name", name, *SIZE, changes=CHANGES)
    for kills in range(1, KILLS + 1):
        enough = len(kept) + chance.randrange(3 if SOAK else TRIALS // (KILLS + 1))
        machine.wait(lambda: machine.started(name, driver), driver)  # noqa: B023
        machine.wait(lambda: machine.status(name)["trials"]["finished"] >= enough, driver)  # noqa: B023
        time.sleep(chance.random())
        if kills == KILLS:
            machine.wait(lambda: paths.checkpoints.exists() and any(paths.checkpoints.glob("*.safetensors")), driver)
        assert driver.poll() is None, "the sweep was over before it could be killed"
        driver.kill()
        machine.end(driver)
        status = machine.status(name)
        found = {row["trial"]: row for row in machine.rows(name)}
        assert (status["state"], status["trials"]["finished"]) == ("died", len(found))
        assert {trial: found[trial] for trial in kept} == kept
        kept, attempts, log = found, attempts_of(machine, name), paths.log.read_text()
        assert len(kept) < TRIALS
        more = ["--trials", f"+{MORE}"] if kills == KILLS else ["--checkpoint-seconds", "0"]
        driver = machine.begin("resume", name, "--lanes", SIZE[-1], *more)
    done = machine.end(driver)
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    rows = machine.check(name, TRIALS + MORE)
    assert {row["trial"]: row for row in rows if row["trial"] in kept} == kept
    gone_on = re.findall(r"pack \d+: trials (.+) from epoch \d+ on", paths.log.read_text().removeprefix(log))
    again = {int(trial) for trials in gone_on for trial in trials.split(", ")}
    assert again
    assert {trial: rows[trial]["attempt"] for trial in again} == {trial: attempts[trial] for trial in again}
    assert list(paths.checkpoints.iterdir()) == []

    whole = ("--trials", str(TRIALS + MORE), *SIZE[2:])
    undisturbed = machine.end(machine.sweep("--name", "undisturbed", *whole, changes=CHANGES))
    assert undisturbed.code == 0, undisturbed.err
    for row, other in zip(rows, machine.rows("undisturbed"), strict=True):
        assert [row[column] for column in SAME] == [other[column] for column in SAME]
    assert done.out.split("\n", 1)[1] == undisturbed.out.split("\n", 1)[1]  # the tables of both fronts
