"""The benchmarks that run whole sweeps: their stock stack, their serial sweeps, and what they make of the results."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import serial, stopping, sweep
from benchmarks.stock import ENDS
from search_spaces.load import load
from search_spaces.space import Stopping
from supermask.data import load as data_of
from tests.faults.soak import in_soak

REPOSITORY = Path(__file__).resolve().parents[2]
DIGITS = REPOSITORY / "search_spaces" / "fcn_digits.yaml"
OBJECTIVES = {"val_accuracy": "maximize", "remaining": "minimize"}


def row(ended: float, accuracy: float, remaining: float, state: str = "finished") -> dict[str, Any]:
    return {"ended": ended, "state": state, "val_accuracy": accuracy, "remaining": remaining}


@pytest.mark.ray
@pytest.mark.parametrize("tuned", [False, True])
def test_the_stock_stack_trains_and_logs(tuned: bool, tmp_path: Path) -> None:
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "stock.py"), str(DIGITS), "--root", str(tmp_path)]
    command += ["--trials", "3", "--epochs", "4", *(["--tuned"] if tuned else [])]
    done = subprocess.run(command, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in (tmp_path / ENDS).read_text().splitlines()]
    assert len(rows) == 3
    assert all(0 <= row["val_accuracy"] <= 1 and 0 <= row["remaining"] <= 1 for row in rows)
    assert max(row["val_accuracy"] for row in rows) > 0.5

    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("stock")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 3
    assert all(len(client.get_metric_history(run.info.run_id, "val_accuracy")) == 4 for run in runs)


def test_each_side_is_a_command_of_its_own(tmp_path: Path) -> None:
    commands = {side: sweep.command(side, DIGITS, tmp_path, epochs=3, seed=1, data=None) for side in sweep.SIDES}
    assert "--tuned" in commands[sweep.TUNED]
    assert "--tuned" not in commands[sweep.DOCUMENTED]
    assert "stopping.eta=3" in commands[sweep.STOPPING]
    assert "stopping.eta=3" not in commands[sweep.OURS]


def test_the_rate_counts_until_the_last_end() -> None:
    assert sweep.rate([row(20.0, 0.9, 0.5), row(40.0, 0.9, 0.5, "stopped")]) == pytest.approx(180.0)


def test_the_hypervolume_grows_as_trials_finish() -> None:
    rows = [row(10.0, 0.5, 0.5), row(20.0, 0.9, 0.5, "stopped"), row(30.0, 0.8, 0.2)]
    found = sweep.volumes(rows, OBJECTIVES, np.array([0.0, 10.0, 29.0, 30.0, 99.0]))
    half, fifth = ((accuracy - 0.1) / 0.9 * -math.log10(left) / 3 for accuracy, left in ((0.5, 0.5), (0.8, 0.2)))
    assert found == pytest.approx([0.0, half, half, fifth, fifth])


def test_the_record_compares_every_side_and_the_picture_is_drawn(tmp_path: Path) -> None:
    runs = {
        side: [[row(20.0 / speed, 0.9, 0.5), row(40.0 / speed, 0.95, 0.2)]] for speed, side in enumerate(sweep.SIDES, 1)
    }
    rows = sweep.compare(runs, OBJECTIVES, 100.0)
    assert [found["ratio"] for found in rows] == pytest.approx([1 / 3, 1 / 4, 2, 2 / 3, 1 / 2, 1, 1])
    times = np.linspace(0, 100, 11)
    curves = {side: np.stack([sweep.volumes(found, OBJECTIVES, times) for found in runs[side]]) for side in runs}
    sweep.draw(curves, times, "digits").savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000


@pytest.mark.parametrize("repack", [True, False])
def test_a_serial_sweep_spends_its_epochs(repack: bool) -> None:
    space = load(DIGITS, overrides={"fixed.epochs": 4})
    halving = replace(space, stopping=Stopping(eta=2, grace_epochs=1))
    outcome = serial.Sweep(halving, data_of("digits"), lanes=4, repack=repack).run(60)
    assert 60 <= outcome.spent == sum(epoch["lanes"] for epoch in outcome.epochs) < 60 + 4 * 4
    assert len(outcome.networks) == outcome.spent > outcome.trials
    assert all(0 < found["spent"] <= outcome.spent for found in outcome.networks)
    assert all(epoch["began"] < epoch["ended"] for epoch in outcome.epochs)


def test_epochs_for_a_hypervolume() -> None:
    spent, volume = np.array([0, 8, 16, 24]), np.array([0.0, 0.4, 0.4, 0.9])
    assert stopping.reached(spent, volume, 0.4) == 8
    assert stopping.reached(spent, volume, 0.5) == 24
    assert stopping.reached(spent, volume, 0.95) == float("inf")


def test_a_method_that_never_comes_there_is_counted_with_the_whole_budget() -> None:
    quick, slow = (np.array([0, 5]), np.array([0.0, 0.9])), (np.array([0, 20]), np.array([0.0, 0.8]))
    never = (np.array([0, 5]), np.array([0.0, 0.1]))
    rows = stopping.compare({stopping.PEER: [slow, slow], stopping.BEST: [quick, never]}, 40)
    first = next(found for found in rows if found["case"].endswith(stopping.BEST))
    assert (first["low"], first["high"], first["missed"]) == (0.5, 4.0, 1)


def quick(file: Path, script: list[str]) -> list[dict[str, Any]]:
    """The rows that a benchmark writes at toy size."""
    command = [sys.executable, *script, "--quick", "--json", str(file)]
    environment = os.environ | {"COLUMNS": "120"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(file.read_text())["rows"]


def test_quick_utilisation_writes_the_document_and_the_picture(tmp_path: Path) -> None:
    (found,) = quick(tmp_path / "utilisation.json", ["benchmarks/utilisation.py"])
    assert found["ratio"] > 0
    assert 0 < found["utilisation"] < 2
    assert (tmp_path / "utilisation.png").stat().st_size > 10_000


@pytest.mark.ray
@in_soak
def test_quick_preemption_loses_workers_and_goes_on(tmp_path: Path) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("each side of the benchmark needs a core of its own")
    (found,) = quick(tmp_path / "preemption.json", ["benchmarks/preemption.py"])
    assert found["workers"] > 1
    assert found["ratio"] > 0


def test_the_gpu_benchmark_runs_at_toy_size_and_goes_on_where_it_was(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    script = ["-m", "benchmarks.gpu", "--device", "cpu", "--folder", str(kept)]
    rows = quick(tmp_path / "gpu.json", script)
    cases = [found["case"] for found in rows]
    assert sum(case.startswith("best: fcn") for case in cases) == 2
    assert all(found["ratio"] > 0 and found["teraflops"] > 0 for found in rows)
    assert sum(case.startswith("toy convolution, K=2: ") for case in cases) == 3
    before = {file: file.stat().st_mtime_ns for file in kept.rglob("*.json")}
    again = quick(tmp_path / "again.json", script)
    assert [found["ours"] for found in again] == [found["ours"] for found in rows]
    assert {file: file.stat().st_mtime_ns for file in kept.rglob("*.json")} == before
