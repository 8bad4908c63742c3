"""`sweeps confirm` as a user runs it: real Ray, real MLflow, real processes."""

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from sweeps import confirmations
from sweeps.analysis.intervals import student_t
from sweeps.driver.seeds import fresh_seeds
from sweeps.store.paths import SweepPaths
from sweeps.tracking import mirrored, mlflow_store
from tests.processes import kill
from tests.sweeps.machine import SMALL, Machine, machine_of

pytestmark = pytest.mark.ray

WORKERS = ("ray::PackTrainable", "ray::ResourceTrainable")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """With a sweep of four trials."""
    with machine_of(tmp_path_factory.mktemp("root")) as made:
        done = made.end(made.sweep("--name", "tiny", "--trials", "4", "--lanes", "4", "--in-process", changes=SMALL))
        assert done.code == 0, done.err
        yield made


@pytest.fixture(scope="module")
def paths(machine: Machine) -> SweepPaths:
    return SweepPaths(machine.root, "tiny")


def confirmed(paths: SweepPaths) -> list[dict[str, Any]]:
    return confirmations.load(paths.confirm).to_pylist()


def test_networks_are_confirmed_and_all_records_agree(machine: Machine, paths: SweepPaths) -> None:
    done = machine("confirm", "tiny", "--select", "0@3,0@1,2@3,3@3", "--seeds", "2", "--json")
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    assert "\nconfirm tiny: 6 trainings to do, which give 8 networks, up to " in done.err
    rows, trials = confirmed(paths), machine.rows("tiny")
    networks = [(0, 1), (0, 3), (2, 3), (3, 3)]
    assert [(row["trial"], row["epoch"], row["seed_index"]) for row in rows] == [
        (*network, seed) for network in networks for seed in (0, 1)
    ]
    for row in rows:
        assert (row["state"], row["epochs_done"], row["device"]) == ("finished", row["epoch"], "cpu")
        assert row["seed"] == fresh_seeds(2, ())[row["seed_index"]]
        assert row["learning_rate"] == trials[row["trial"]]["learning_rate"]
        assert row["val_loss"] != trials[row["trial"]]["val_loss"]
    records = json.loads(done.out)
    for record in records:
        own = [row for row in rows if (row["trial"], row["epoch"]) == (record["trial"], record["epoch"])]
        assert record["seeds"] == 2
        for metric in ("test_accuracy", "val_accuracy", "remaining"):
            assert record[metric] == vars(student_t([row[metric] for row in own]))
    means = [record["test_accuracy"]["mean"] for record in records]
    assert means == sorted(means, reverse=True)
    assert "mean of 2 fresh seeds" in paths.report.read_text()
    with Image.open(paths.confirmed_png) as picture:
        assert picture.format == "PNG"
    runs = {run.trial: run for run in mirrored.read(mlflow_store.default_uri(machine.root), "tiny", root=machine.root)}
    for record in records:
        mean = f"confirm/{record['epoch']}/test_accuracy_mean"
        assert runs[record["trial"]].metrics[mean] == record["test_accuracy"]["mean"]
    assert not [name for name in runs[1].metrics if name.startswith("confirm/")]
    assert machine.verify("tiny")["ok"]
    assert machine("mlflow-sync", "tiny").out.startswith("4 trials, 0 runs changed in ")


def test_more_seeds_are_added_also_when_a_worker_is_killed(machine: Machine, paths: SweepPaths) -> None:
    before = confirmed(paths)

    def kill_a_worker() -> bool:
        workers = [pid for pid, command in machine.processes().items() if command.startswith(WORKERS)]
        kill(workers[:1])
        return bool(workers)

    process = machine.begin("confirm", "tiny", "--select", "0@3,2@3,3@3", "--seeds", "4", "--json")
    machine.wait(kill_a_worker, process)
    done = machine.end(process)
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    assert [record["seeds"] for record in json.loads(done.out)] == [4, 4, 4]
    assert [row for row in confirmed(paths) if row["seed_index"] < 2] == before


def test_an_interrupted_confirm_goes_on(machine: Machine, paths: SweepPaths) -> None:
    before = len(confirmed(paths))
    process = machine.begin("confirm", "tiny", "--select", "1@1,1@3", "--seeds", "16", "--lanes", "1", "--in-process")
    machine.wait(lambda: len(confirmed(paths)) > before, process)
    os.killpg(process.pid, signal.SIGINT)
    interrupted = machine.end(process)
    assert interrupted.code == 130, interrupted.err
    assert "Traceback" not in interrupted.err
    assert "The same command goes on." in interrupted.err
    kept = [row for row in confirmed(paths) if row["trial"] == 1]
    assert 0 < len(kept) < 32
    done = machine("confirm", "tiny", "--select", "1@1,1@3", "--seeds", "16", "--in-process")
    assert done.code == 0, done.err
    rows = [row for row in confirmed(paths) if row["trial"] == 1]
    assert [(row["epoch"], row["seed_index"]) for row in rows] == [(epoch, k) for epoch in (1, 3) for k in range(16)]
    assert [row for row in rows if row in kept] == kept
    assert not [*(paths.confirm / "checkpoints").glob("*")]  # all have ended
