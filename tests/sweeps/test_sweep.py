"""Whole sweeps as a user runs them: real Ray, real MLflow, real processes."""

import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from sweeps import Sweep, results
from sweeps.store.paths import SweepPaths
from tests.sweeps.machine import SMALL, Done, Machine, machine_of

pytestmark = pytest.mark.ray

FAULTY = "search.weight_gain={choices: [1.0, 2.0, 1.0e+25]}"
"""The last of these gains overflows in the first forward pass."""
RESULT = ("state", "reason", "epochs_done", "val_accuracy", "remaining", "inverted", "val_loss", "test_accuracy")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine_of(tmp_path_factory.mktemp("root")) as made:
        yield made


@pytest.fixture(scope="module")
def whole(machine: Machine) -> Done:
    """A sweep of 40 trials, some of which diverge."""
    return machine.end(machine.sweep("--name", "whole", "--trials", "40", "--lanes", "8", changes=[*SMALL, FAULTY]))


def test_a_whole_sweep_ends_well_and_says_where_everything_is(machine: Machine, whole: Done) -> None:
    assert whole.code == 0, whole.err
    assert "Traceback" not in whole.err
    assert whole.out.startswith("front of whole: ")
    states = Counter(row["state"] for row in machine.rows("whole"))
    assert states["finished"] + states["failed"] == 40
    assert min(states["finished"], states["failed"]) > 0
    assert f"trials:   40 asked, {states['finished']} finished, {states['failed']} failed; " in whole.err
    assert f"failed:   {states['failed']} x diverged" in whole.err
    assert f"MLflow:   sqlite:///{machine.root}/mlflow.db" in whole.err
    assert f"sweeps ui whole --root {machine.root}" in whole.err
    paths = SweepPaths(machine.root, "whole")
    with Image.open(paths.front_png) as picture:
        assert picture.format == "PNG"
    page = paths.report.read_text()
    assert "whole" in page[: page.index("</title>")]
    assert f"report:   {paths.report}" in whole.err
    assert list(paths.folder.rglob(".tmp-*")) == []


def test_study_parquet_and_mlflow_agree_about_it(machine: Machine, whole: Done) -> None:
    done = machine("verify", "whole", "--json")
    assert json.loads(done.out) == {
        "ok": True, "trials": 40, "mlflow_runs": 40, "finished_twice": [], "differences": [],
    }  # fmt: skip
    assert done.code == 0


def test_its_lanes_failed_for_the_reason_that_was_put_in(machine: Machine, whole: Done) -> None:
    for row in machine.rows("whole"):
        assert (row["state"] == "failed") is (row["weight_gain"] > 1e20), row
        if row["state"] == "failed":
            assert row["reason"].startswith("diverged: ")
        else:
            assert (row["reason"], row["epochs_done"], row["attempt"]) == (None, 3, 1)
    packs = Counter(row["pack"] for row in machine.rows("whole"))
    assert packs == dict.fromkeys(range(5), 8)


def test_its_status_and_front_are_those_of_its_results(machine: Machine, whole: Done) -> None:
    rows = machine.rows("whole")
    found = machine.status("whole")
    assert found["state"] == "finished"
    finished = sum(row["state"] == "finished" for row in rows)
    assert found["trials"] == {
        "asked": 40, "finished": finished, "stopped": 0, "failed": 40 - finished, "running": 0, "waiting": 0,
    }  # fmt: skip
    front = json.loads(machine("pareto", "whole", "--json").out)
    networks = Sweep.open("whole", root=machine.root).networks().to_pylist()
    diverged = 40 - finished  # in their last epoch, which is no network
    assert len(networks) == sum(row["epochs_done"] for row in rows) - diverged
    undominated = {
        (one["trial"], one["epoch"])
        for one in networks
        if not any(
            other["estimate"] >= one["estimate"]
            and other["remaining"] <= one["remaining"]
            and (other["estimate"], other["remaining"]) != (one["estimate"], one["remaining"])
            for other in networks
        )
    }
    members = {(record["trial"], record["epoch"]) for record in front}
    assert members
    assert members <= undominated
    assert {path.stem for path in SweepPaths(machine.root, "whole").masks.iterdir()} == {
        f"{trial}-{epoch}" for trial, epoch in members
    }


def test_results_do_not_depend_on_how_trials_are_packed_nor_on_ray(machine: Machine, whole: Done) -> None:
    size = ("--trials", "10", "--lanes", "3", "--in-process")
    done = machine.end(machine.sweep("--name", "narrow", *size, changes=[*SMALL, FAULTY]))
    assert done.code == 0, done.err
    narrow = machine.rows("narrow")
    assert [row["trial"] for row in narrow] == list(range(10))
    for row, other in zip(narrow, machine.rows("whole")[:10], strict=True):
        assert row["pack"] != other["pack"] or row["trial"] < 3
        for name in RESULT:
            if isinstance(row[name], float):
                assert row[name] == pytest.approx(other[name], rel=1e-6, nan_ok=True), (row["trial"], name)
            else:
                assert row[name] == other[name], (row["trial"], name)


def test_a_space_whose_every_lane_diverges_is_failed_work(machine: Machine) -> None:
    changes = [*SMALL, "fixed.weight_gain=1.0e+25"]
    done = machine.end(
        machine.sweep("--name", "lost", "--trials", "6", "--lanes", "3", "--in-process", changes=changes)
    )
    assert done.code == 1, done.err
    assert done.out == ""
    assert "failed:   6 x diverged" in done.err
    assert done.err.endswith("no trial finished: 6 failed, see the reasons above.\n")
    assert "Traceback" not in done.err
    counts = machine.status("lost")["trials"]
    assert counts == {"asked": 6, "finished": 0, "stopped": 0, "failed": 6, "running": 0, "waiting": 0}
    assert machine.verify("lost")["ok"]


LONG = [change for change in SMALL if "epochs" not in change] + ["fixed.epochs=200"]
CORES = os.cpu_count() or 1
CPUS = max(1, CORES // 8)
TRIALS = 2 * (CORES // CPUS) + 8
"""In packs of two lanes they fill every core once, at most some eight packs, and leave four packs for later."""
ROUNDS = ["--trials", str(TRIALS), "--lanes", "2", "--cpus-per-pack", str(CPUS)]


def test_an_interrupt_keeps_what_was_finished_and_resume_does_the_rest(machine: Machine) -> None:
    driver = machine.sweep("--name", "cut", *ROUNDS, changes=LONG)
    folder = SweepPaths(machine.root, "cut").folder

    def in_the_midst() -> bool:
        found = machine.status("cut")["trials"] if folder.exists() else Counter()
        return found["finished"] >= 2 and found["running"] >= 2 and found["asked"] > found["finished"] + 2

    machine.wait(in_the_midst, driver)
    os.killpg(driver.pid, signal.SIGINT)
    done = machine.end(driver)
    assert done.code == 130, done.err
    assert "Traceback" not in done.err
    assert done.err.endswith(
        f"interrupted; what was finished is kept. Go on with: sweeps resume cut --root {machine.root}\n"
    )
    kept = machine.rows("cut")
    counts = machine.status("cut")["trials"]
    assert f"{len(kept)} finished, {counts['waiting']} waiting" in done.err, done.err
    assert counts["finished"] == len(kept) < TRIALS
    assert counts["waiting"] == counts["asked"] - len(kept) > 0
    assert counts["running"] == 0
    assert machine.status("cut")["state"] == "interrupted"

    done = machine("resume", "cut", "--lanes", "4")
    assert done.code == 0, done.err
    rows = machine.rows("cut")
    assert [(row["trial"], row["state"]) for row in rows] == [(trial, "finished") for trial in range(TRIALS)]
    before = {row["trial"]: row for row in kept}
    assert {row["trial"]: row for row in rows if row["trial"] in before} == before
    assert {row["attempt"] for row in rows} == {1}  # what was in training went on from its checkpoint
    assert "from epoch" in SweepPaths(machine.root, "cut").log.read_text()
    found = json.loads(machine("verify", "cut", "--json").out)
    assert found == {"ok": True, "trials": TRIALS, "mlflow_runs": TRIALS, "finished_twice": [], "differences": []}


def test_resuming_a_complete_sweep_changes_nothing(machine: Machine, whole: Done) -> None:
    before = machine.rows("whole")
    done = machine("resume", "whole", "--in-process")
    assert done.code == 0, done.err
    assert repr(machine.rows("whole")) == repr(before)  # a NaN does not equal itself
    assert machine.status("whole")["trials"]["asked"] == 40
    assert machine.verify("whole")["ok"]


def test_a_long_sweep_measures_its_lanes_once_and_keeps_the_figures(machine: Machine, tmp_path: Path) -> None:
    def begin(name: str) -> "subprocess.Popen[str]":
        # Every sweep counts as long here.
        code = "from sweeps import __main__; from sweeps.driver import plan; plan.MEASURE_FROM_SECONDS = 0; "
        code += "__main__.main()"
        size = ("--name", name, "--trials", "16", "--in-process")
        return machine.sweep(*size, changes=SMALL, program=("-c", code), SWEEPS_CACHE=str(tmp_path))

    first, second = (machine.end(begin(name)) for name in ("probed", "known"))
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert " a pack (measured now in " in first.err
    assert " a pack (measured earlier in " in second.err
    assert len(json.loads((tmp_path / "lanes.json").read_text())) == 1


def test_trials_that_pass_a_rung_are_packed_anew_and_each_is_trained_once(machine: Machine) -> None:
    stopping = ["stopping={eta: 2, grace_epochs: 1}", "fixed.epochs=4", *SMALL[1:]]
    done = machine.end(machine.sweep("--name", "rungs", "--trials", "24", "--lanes", "4", changes=stopping))
    assert done.code == 0, done.err
    rows = {row["trial"]: row for row in machine.rows("rungs")}
    assert sorted(rows) == list(range(24))
    states = Counter(row["state"] for row in rows.values())
    assert states["finished"] + states["stopped"] == 24
    assert states["stopped"] > 8
    epochs = Counter(
        row["trial"] for row in results.load_epochs(machine.root, "rungs", latest_attempt=False).to_pylist()
    )
    for trial, row in rows.items():
        assert row["attempt"] == 1, row["reason"]
        assert (
            row["epochs_done"] == epochs[trial] == 4 if row["state"] == "finished" else row["epochs_done"] in (1, 2, 4)
        )
    packs = {row["pack"] for row in rows.values()}
    assert len(packs | {0}) > 6  # 24 trials fill six packs of four; survivors make more of them
    assert machine.verify("rungs")["ok"]
