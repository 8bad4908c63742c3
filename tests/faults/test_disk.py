"""A root that is full, and one that cannot be written for a while."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sweeps.store.paths import SweepPaths
from tests.sweeps.machine import SMALL, Machine, machine_of

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

TRIALS = 16
SIZE = ("--trials", str(TRIALS), "--lanes", "2")
CHANGES = [*SMALL, "fixed.epochs=30"]


def need(*command: str) -> None:
    """Runs a command that not every user may run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip(f"{command[0]}: not on this machine")
    if done.returncode:
        pytest.skip(f"{' '.join(command)}: not permitted here: {done.stderr.strip()}")


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Takes all room that is left, and that which files leave when they are replaced, until the block ends."""
    filler, done = disk / "filler", threading.Event()

    def fill() -> None:
        with filler.open("ab", buffering=0) as file:
            while not done.is_set():
                try:
                    file.write(bytes(4096))
                except OSError:
                    done.wait(0.01)

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        filler.unlink()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """One whose root is a small disk of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    need("mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk))
    try:
        with machine_of(disk) as made:
            yield made
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_is_one_message_with_the_way_on_and_room_is_all_it_needs(machine: Machine) -> None:
    driver = machine.sweep("--name", "full", *SIZE, changes=CHANGES)
    machine.wait(lambda: machine.started("full", driver), driver)
    machine.wait(lambda: machine.status("full")["trials"]["finished"] >= 2, driver)
    with filled(machine.root):
        assert driver.stderr
        said = ""
        for line in driver.stderr:  # to its end: what was read ahead is not lost
            said += line
            if "The session waits 600 s for that" in line:
                os.killpg(driver.pid, signal.SIGINT)
        done = machine.end(driver)
        assert done.code == 1, said
        assert "Traceback" not in said
        assert "No space left on device" in said
        assert f"go on with: sweeps resume full --root {machine.root}" in said
        kept = machine.rows("full")
        assert 2 <= len(kept) < TRIALS

        done = machine("resume", "full", *SIZE[2:])
        assert done.code in (1, 2), done.err
        assert "Traceback" not in done.err
        assert "No space left on device" in done.err

    done = machine("resume", "full", *SIZE[2:])
    assert done.code == 0, done.err
    rows = machine.check("full", TRIALS)
    assert {row["trial"]: row for row in rows if row in kept} == {row["trial"]: row for row in kept}


def test_a_root_that_cannot_be_written_for_a_while_costs_nothing(machine: Machine) -> None:
    driver = machine.sweep("--name", "shut", *SIZE, "--in-process", changes=CHANGES)
    paths = SweepPaths(machine.root, "shut")
    machine.wait(lambda: machine.started("shut", driver), driver)
    machine.wait(lambda: machine.status("shut")["trials"]["finished"] >= 2, driver)
    need("chattr", "-R", "+i", str(paths.folder))  # no mode keeps root from writing
    try:
        said = paths.session.read_text()
        since = time.monotonic()
        machine.wait(lambda: time.monotonic() - since > 4, driver)
        assert paths.session.read_text() == said
    finally:
        need("chattr", "-R", "-i", str(paths.folder))
    done = machine.end(driver)
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    rows = machine.check("shut", TRIALS)
    assert {(row["state"], row["attempt"]) for row in rows} == {("finished", 1)}
