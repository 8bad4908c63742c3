"""`sweeps confirm` as a user runs it: real Ray, real MLflow, real processes."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sweeps import confirmations, results, tracking
from sweeps.analysis.intervals import student_t
from sweeps.mirroring import mirrored
from sweeps.paths import SweepPaths
from sweeps.seeds import fresh_seeds

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
]

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 200
MARK = "SWEEPS_CONFIRM_TEST_MARK"
CHANGES = ["fixed.epochs=3", "fixed.width=0.3", "constraints=[]", "sampler={name: random, seed: 5}"]
Row = dict[str, Any]


class Sweep:
    """A small sweep over the digits, and commands on it."""

    def __init__(self, root: Path) -> None:
        self.paths, self._mark = SweepPaths(root, "tiny"), uuid.uuid4().hex

    def begin(self, *arguments: str) -> "subprocess.Popen[str]":
        environment = {**os.environ, MARK: self._mark, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-m", "sweeps", *arguments, "--root", str(self.paths.root)]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )

    def end(self, process: "subprocess.Popen[str]", code: int = 0) -> tuple[str, str]:
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == code, err
        assert "Traceback" not in err
        return out, err

    def __call__(self, *arguments: str) -> tuple[str, str]:
        return self.end(self.begin(*arguments))

    def rows(self) -> list[Row]:
        return confirmations.load(self.paths.confirm).to_pylist()

    def workers(self) -> list[int]:
        """Processes that train packs."""
        found: list[int] = []
        for folder in Path("/proc").iterdir():
            with suppress(OSError):
                if folder.name.isdecimal() and f"{MARK}={self._mark}".encode() in (folder / "environ").read_bytes():
                    found += [int(folder.name)] * (folder / "cmdline").read_bytes().startswith(b"ray::PackWorker")
        return found

    def wait(self, what: Callable[[], Any], process: "subprocess.Popen[str]") -> Any:
        """Waits until something is there while a command works."""
        until = time.monotonic() + PATIENCE_SECONDS
        while not (found := what()):
            if process.poll() is not None or time.monotonic() > until:
                process.kill()
                pytest.fail(f"waited in vain for {process.args}; it wrote: {process.communicate()[1]}")
            time.sleep(0.05)
        return found


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweep]:
    made = Sweep(tmp_path_factory.mktemp("root"))
    sets = [word for change in CHANGES for word in ("--set", change)]
    made("run", "fcn_digits", "--name", "tiny", "--trials", "4", "--lanes", "4", *sets)
    yield made
    until = time.monotonic() + 15
    while made.workers() and time.monotonic() < until:
        time.sleep(0.2)  # they see that Ray is gone, and go
    assert made.workers() == []


def test_trials_are_confirmed_and_all_records_agree(sweep: Sweep) -> None:
    out, err = sweep("confirm", "tiny", "--select", "0,2,3", "--seeds", "2", "--json")
    assert err.startswith("confirm tiny: 6 trainings to do, up to ")
    rows, trials = sweep.rows(), results.load(sweep.paths.root, "tiny").to_pylist()
    assert [(row["trial"], row["seed_index"]) for row in rows] == [(t, k) for t in (0, 2, 3) for k in (0, 1)]
    for row in rows:
        assert (row["state"], row["epochs_done"], row["device"]) == ("finished", 3, "cpu")
        assert row["seed"] == fresh_seeds(2, ())[row["seed_index"]]
        assert row["learning_rate"] == trials[row["trial"]]["learning_rate"]
        assert row["val_loss"] != trials[row["trial"]]["val_loss"]
    for record in json.loads(out):
        own = [row for row in rows if row["trial"] == record["trial"]]
        assert record["seeds"] == 2
        for metric in ("test_accuracy", "remaining"):
            assert record[metric] == vars(student_t([row[metric] for row in own]))
    means = [record["test_accuracy"]["mean"] for record in json.loads(out)]
    assert means == sorted(means, reverse=True)
    assert "mean of 2 fresh seeds" in sweep.paths.report.read_text()
    with Image.open(sweep.paths.confirmed_png) as picture:
        assert picture.format == "PNG"
    runs = {run.trial: run for run in mirrored.read(tracking.default_uri(sweep.paths.root), "tiny")}
    for record in json.loads(out):
        assert runs[record["trial"]].metrics["confirm/test_accuracy_mean"] == record["test_accuracy"]["mean"]
    assert "confirm/test_accuracy_mean" not in runs[1].metrics
    assert json.loads(sweep("verify", "tiny", "--json")[0])["ok"]
    assert sweep("mlflow-sync", "tiny")[0].startswith("4 trials, 0 runs changed in ")


def test_more_seeds_are_added_also_when_a_worker_is_killed(sweep: Sweep) -> None:
    before = sweep.rows()
    process = sweep.begin("confirm", "tiny", "--select", "0,2,3", "--seeds", "4", "--json")
    os.kill(sweep.wait(sweep.workers, process)[0], signal.SIGKILL)
    out, _ = sweep.end(process)
    assert [record["seeds"] for record in json.loads(out)] == [4, 4, 4]
    assert [row for row in sweep.rows() if row["seed_index"] < 2] == before


def test_an_interrupted_confirm_goes_on(sweep: Sweep) -> None:
    before = len(sweep.rows())
    process = sweep.begin("confirm", "tiny", "--select", "1", "--seeds", "16", "--lanes", "1")
    sweep.wait(lambda: len(sweep.rows()) > before, process)
    os.killpg(process.pid, signal.SIGINT)
    _, err = sweep.end(process, code=130)
    assert "The same command goes on." in err
    kept = [row for row in sweep.rows() if row["trial"] == 1]
    assert 0 < len(kept) < 16
    sweep("confirm", "tiny", "--select", "1", "--seeds", "16")
    rows = [row for row in sweep.rows() if row["trial"] == 1]
    assert [row["seed_index"] for row in rows] == list(range(16))
    assert [row for row in rows if row in kept] == kept
