"""The networks of a real sweep: trained again, exported and confirmed they are what the sweep has recorded."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from supermask import data
from supermask.artifact import Artifact
from supermask.config import TrainConfig
from supermask.plain import plain_network
from sweeps import export
from sweeps.commands.config_source import find
from sweeps.results import CONFIG_COLUMNS
from sweeps.store.paths import SweepPaths
from sweeps.stored import StoredSweep
from sweeps.worker import training
from tests.sweeps.machine import SMALL, Machine, machine_of

EPOCHS = 60
CHANGES = [f"fixed.epochs={EPOCHS}", *SMALL[1:], "stopping={eta: 2, grace_epochs: 5}"]
DIGITS = data.load("digits")
Row = dict[str, Any]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """With a sweep that stops some of its trials."""
    with machine_of(tmp_path_factory.mktemp("root")) as made:
        done = made.end(made.sweep("--name", "nets", "--trials", "6", "--lanes", "3", "--in-process", changes=CHANGES))
        assert done.code == 0, done.err
        yield made


@pytest.fixture(scope="module")
def sweep(machine: Machine) -> StoredSweep:
    return StoredSweep.at(SweepPaths(machine.root, "nets"))


def network(sweep: StoredSweep, trial: int, epoch: int) -> Row:
    rows = sweep.networks().to_pylist()
    return next(row for row in rows if (row["trial"], row["epoch"]) == (trial, epoch))


def train(config: TrainConfig) -> training.Training:
    pack = training.build(config, DIGITS, torch.device("cpu"), threads=1)
    return training.train(pack, DIGITS, lambda _: None)


def kept(sweep: StoredSweep) -> list[tuple[int, int]]:
    """The first and the last of the networks that are kept."""
    found = sweep.paths.kept_networks()
    return [found[0], found[-1]]


def test_the_networks_of_the_front_are_kept(sweep: StoredSweep) -> None:
    front = {(row["trial"], row["epoch"]) for row in sweep.front().to_pylist()}
    assert set(sweep.paths.kept_networks()) == front
    assert len({epoch for _, epoch in front}) > 1


def test_trained_again_a_kept_network_is_the_same_bit_for_bit(sweep: StoredSweep) -> None:
    for trial, epoch in kept(sweep):
        source = find(f"nets:{trial}@{epoch}", sweep.paths.root, [])
        made, there = train(source.config).artifact, Artifact.load(sweep.paths.mask(trial, epoch))
        assert made is not None
        assert made.config == there.config == source.config
        assert made.config.epochs == epoch
        assert made.metrics.items() >= there.metrics.items()
        assert made.metrics["estimate"] == network(sweep, trial, epoch)["estimate"]
        same = Artifact(made.config, made.input_shape, made.classes, made.masks, made.values, there.metrics)
        assert same.to_bytes() == sweep.paths.mask(trial, epoch).read_bytes()


def test_exported_a_network_of_the_front_has_the_recorded_validation_accuracy(
    sweep: StoredSweep, tmp_path: Path
) -> None:
    for trial, epoch in kept(sweep):
        source = export.find(f"nets:{trial}@{epoch}", str(sweep.paths.root))
        path = export.export_file(source, "artifact", tmp_path / source.name, data_root=None, say=pytest.fail)
        exported = Artifact.load(path)
        _, held_out = data.split(DIGITS, exported.config)
        with torch.no_grad():
            found = plain_network(exported)(DIGITS.train_images[held_out]).argmax(dim=1)
        right = int((found == DIGITS.train_labels[held_out]).sum())
        assert right / len(held_out) == network(sweep, trial, epoch)["val_accuracy"]


def test_a_network_of_a_stopped_trial_is_trained_exactly_as_in_the_sweep(machine: Machine, sweep: StoredSweep) -> None:
    trial = next(row["trial"] for row in sweep.trials().to_pylist() if row["state"] == "stopped")
    folder = machine.root / "again"
    done = machine("train", f"nets:{trial}@3", "--device", "cpu", "--out", str(folder))
    assert done.code == 0, done.err
    row = network(sweep, trial, 3)
    assert (
        f"validation accuracy {100 * row['val_accuracy']:.2f} %, remaining {100 * row['remaining']:.2f} %: "
        "exactly as in the sweep\n"
    ) in done.err


def test_a_confirm_that_was_cut_goes_on_and_gives_what_trainings_of_so_many_epochs_give(
    machine: Machine, sweep: StoredSweep
) -> None:
    trial = next(row["trial"] for row in sweep.trials().to_pylist() if row["state"] == "finished")
    seeds = range(16)  # so many that it takes seconds
    ask = ("confirm", "nets", "--select", f"{trial}@2,{trial}@{EPOCHS}", "--seeds", "16", "--lanes", "16")
    process = machine.begin(*ask, "--in-process")
    machine.wait(lambda: sweep.confirmations().num_rows > 0, process)
    os.killpg(process.pid, signal.SIGINT)
    cut = machine.end(process)
    assert cut.code == 130, cut.err
    first = sweep.confirmations().to_pylist()
    assert [(row["trial"], row["epoch"], row["seed_index"]) for row in first] == [(trial, 2, seed) for seed in seeds]
    assert len(list((sweep.paths.confirm / "checkpoints").glob("*.safetensors"))) == len(seeds)
    done = machine(*ask, "--in-process")
    assert done.code == 0, done.err
    assert "confirm nets: 16 trainings to do, which give 16 networks, " in done.err
    rows = sweep.confirmations().to_pylist()
    assert rows[: len(seeds)] == first
    assert [(row["epoch"], row["seed_index"]) for row in rows[len(seeds) :]] == [(EPOCHS, seed) for seed in seeds]
    assert {row["started"] for row in rows} == {first[0]["started"]}  # it went on from the checkpoints
    for row in (rows[0], rows[-1]):
        alone = train(TrainConfig.from_dict({name: row[name] for name in CONFIG_COLUMNS}))
        assert alone.test is not None
        assert (row["test_accuracy"], row["val_accuracy"]) == (alone.test.accuracy, alone.last.val_accuracy)
        assert row["remaining"] == alone.last.remaining
