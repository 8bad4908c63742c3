"""Whole sweeps without Ray, as a user runs them."""

import os
import signal
from collections import Counter
from collections.abc import Iterator

import pytest

from sweeps import results
from sweeps.store.paths import SweepPaths
from tests.sweeps.machine import SMALL, Machine, machine_of

LONG = [change for change in SMALL if "epochs" not in change] + ["fixed.epochs=150"]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine_of(tmp_path_factory.mktemp("root")) as made:
        yield made


def test_a_sweep_with_early_stopping_needs_no_ray(machine: Machine) -> None:
    code = (
        "import sys; sys.modules['ray'] = None; from sweeps import __main__; __main__.main()"  # it cannot be imported
    )
    changes = ["stopping={eta: 2, grace_epochs: 1}", "fixed.epochs=4", *SMALL[1:]]
    size = ("--name", "rungs", "--trials", "12", "--lanes", "4", "--in-process")
    done = machine.end(machine.sweep(*size, changes=changes, program=("-c", code)))
    assert done.code == 0, done.err
    rows = machine.rows("rungs")
    states = Counter(row["state"] for row in rows)
    assert states["finished"] + states["stopped"] == 12
    assert min(states["finished"], states["stopped"]) > 0
    epochs = Counter(row["trial"] for row in results.load_epochs(machine.root, "rungs").to_pylist())
    assert {row["trial"]: row["epochs_done"] for row in rows} == epochs
    assert machine.verify("rungs")["ok"]


def test_an_interrupt_writes_checkpoints_and_resume_goes_on_from_them(machine: Machine) -> None:
    driver = machine.sweep("--name", "cut", "--trials", "4", "--lanes", "2", "--in-process", changes=LONG)
    paths = SweepPaths(machine.root, "cut")
    machine.wait(lambda: bool(list(paths.epochs.glob("*.parquet"))), driver)
    os.killpg(driver.pid, signal.SIGINT)
    done = machine.end(driver)
    assert done.code == 130, done.err
    assert "Traceback" not in done.err
    assert machine.status("cut")["state"] == "interrupted"
    assert list(paths.checkpoints.iterdir())
    done = machine("resume", "cut", "--in-process", "--lanes", "2")
    assert done.code == 0, done.err
    assert {row["attempt"] for row in machine.check("cut", 4)} == {1}
    assert "from epoch" in paths.log.read_text()


@pytest.mark.parametrize("option", [("--address", "127.0.0.1:1"), ("--packs", "2")])
def test_options_of_ray_are_refused(machine: Machine, option: tuple[str, str]) -> None:
    done = machine("run", "fcn_digits", "--in-process", *option)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"{option[0]}: must be left out with --in-process, which trains one pack at a time here.\n"
