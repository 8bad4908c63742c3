"""`sweeps train` and `sweeps layers`, as a user calls them."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from supermask import data
from supermask.artifact import Artifact
from supermask.config import TrainConfig
from supermask.pack import Pack
from sweeps.commands.config_source import of_file
from sweeps.store.paths import SweepPaths
from sweeps.worker import training

CONFIG = TrainConfig(dataset="digits", width=0.3, batch_size=64, epochs=2, learning_rate=0.2, seed=4)
FILES = ["artifact.safetensors", "config.yaml", "curves.png", "epochs.csv", "mask.png"]
EndedRow = Callable[..., dict[str, Any]]
WriteSweep = Callable[..., SweepPaths]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def write_config(folder: Path, **changes: Any) -> str:
    values = {"dataset": "digits", "width": 0.3, "batch_size": 64, "epochs": 2, "learning_rate": 0.2, "seed": 4}
    (folder / "net.yaml").write_text("\n".join(f"{name}: {value}" for name, value in (values | changes).items()))
    return "net.yaml"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_training_has_the_numbers_of_a_pack_and_keeps_everything(sweeps: Any) -> None:
    done = sweeps("train", write_config(sweeps.folder), "--json", "--device", "cpu")
    assert done.code == 0
    pack = Pack([CONFIG, CONFIG], data.load("digits"))
    epochs = [pack.train_epoch()[0] for _ in range(2)]
    (test, _) = pack.evaluate("test")
    found = json.loads(done.out)
    assert (found["state"], found["epochs_done"], found["folder"]) == ("finished", 2, "net")
    assert found["test_accuracy"] == pytest.approx(test.accuracy)
    assert found["val_loss"] == pytest.approx(epochs[1].val_loss, rel=1e-6)
    folder = sweeps.folder / "net"
    assert names(folder) == FILES
    assert of_file(folder / "config.yaml", {}) == CONFIG
    artifact = Artifact.from_bytes((folder / "artifact.safetensors").read_bytes(), "it")
    assert artifact.config == CONFIG
    assert all(torch.equal(mask, artifact.masks[name]) for name, mask in pack.mask(0).items())
    rows = csv.DictReader((folder / "epochs.csv").read_text().splitlines())
    for row, epoch in zip(rows, epochs, strict=True):
        assert int(row["epoch"]) == epoch.epoch
        assert float(row["remaining"]) == epoch.remaining
        for layer in epoch.layers:
            assert float(row[f"layers/{layer.name}/inverted"]) == layer.inverted
    layers = {layer["layer"]: layer for layer in found["layers"]}
    assert [layer["remaining"] for layer in layers.values()] == [layer.remaining for layer in epochs[1].layers]
    assert layers["linear1"]["weights"] == 90 * 64
    for picture in ("curves.png", "mask.png"):
        with Image.open(folder / picture) as image:
            assert image.format == "PNG"


def test_a_training_prints_its_layers_and_its_test_accuracy(sweeps: Any) -> None:
    done = sweeps("train", write_config(sweeps.folder), "--set", "epochs=1", "--out", "there/deep")
    rows = [line.split() for line in done.out.splitlines() if line.strip()]
    assert [row[0] for row in rows if row[0].startswith("linear")] == ["linear1", "linear2", "linear3"]
    (whole,) = [row for row in rows if row[0] == "all"]
    numbers = [int(text.replace(",", "")) for text in whole[1:5]]
    assert numbers[0] == sum(numbers[1:]) == 90 * 64 + 30 * 90 + 10 * 30
    assert done.out.splitlines()[-1].startswith("test accuracy ")
    assert "net.yaml: epoch 1/1  loss " in done.err
    assert done.err.splitlines()[-1].endswith("; results: there/deep")
    assert names(sweeps.folder / "there/deep") == FILES


def test_a_trial_of_a_sweep_is_trained_again(sweeps: Any, ended_row: EndedRow, write_sweep: WriteSweep) -> None:
    write_sweep(sweeps.folder / "sweeps-out", [ended_row(3, **CONFIG.to_dict(), dtype="float16")])
    done = sweeps("train", "small:3@2")
    assert done.code == 0
    assert names(sweeps.folder / "small-3-2") == FILES
    assert "; in the sweep: validation accuracy 87.00 %, remaining 12.50 %, in float16 instead of " in done.err
    assert sweeps("train", "small:3").code == 0  # its network on the front, a shorter training
    assert of_file(sweeps.folder / "small-3-1/config.yaml", {}) == replace(CONFIG, epochs=1)


@pytest.mark.parametrize("state", ["running", "stopped", "failed"])
def test_a_network_of_a_trial_that_did_not_finish_is_trained(
    sweeps: Any, ended_row: EndedRow, write_sweep: WriteSweep, state: str
) -> None:
    row = ended_row(3, state, **CONFIG.to_dict() | {"epochs": 50}, epochs_done=2)
    write_sweep(sweeps.folder / "sweeps-out", [row])
    done = sweeps("train", "small:3@2", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["epochs_done"] == 2
    assert of_file(sweeps.folder / "small-3-2/config.yaml", {}) == CONFIG


def test_the_dense_twin_of_a_trial_leaves_out_what_belongs_to_its_masks(
    sweeps: Any, ended_row: EndedRow, write_sweep: WriteSweep
) -> None:
    values = CONFIG.to_dict() | {"pruning_rate": 0.8, "score_gain": 2.0, "weight_gain": 0.9}
    write_sweep(sweeps.folder / "sweeps-out", [ended_row(3, **values)])
    done = sweeps("train", "small:3@2", "--set", "method=dense", "--set", "learning_rate=0.01", "--out", "twin")
    assert done.code == 0, done.err
    config = of_file(sweeps.folder / "twin/config.yaml", {})
    assert (config.method, config.weight_gain) == ("dense", 0.9)
    assert config.pruning_rate == TrainConfig.pruning_rate
    assert "small, network 3@2 changed: dense fcn on digits" in done.out


def test_a_training_that_diverges_fails_and_keeps_its_curves(sweeps: Any) -> None:
    done = sweeps("train", write_config(sweeps.folder, weight_gain="1.0e+25"), "--set", "epochs=5")
    assert done.code == 1
    assert done.out == ""
    assert done.err.splitlines()[-1] == (
        "net.yaml: diverged: train_loss is nan after epoch 1. Its curves are in net. "
        "Lower learning_rate or weight_gain: --set learning_rate=0.01."
    )
    assert names(sweeps.folder / "net") == ["config.yaml", "curves.png", "epochs.csv"]


def test_an_interrupt_leaves_nothing(sweeps: Any) -> None:
    config = write_config(sweeps.folder)
    train_epoch = Pack.train_epoch

    def interrupt(pack: Pack) -> Any:
        if pack.epoch:
            raise KeyboardInterrupt
        return train_epoch(pack)

    sweeps.monkeypatch.setattr(Pack, "train_epoch", interrupt)
    done = sweeps("train", config)
    assert (done.code, done.out) == (130, "")
    assert done.err.splitlines()[-1] == "net.yaml: interrupted after epoch 1; nothing was written"
    assert sweeps.files() == ["net.yaml"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "full"], "--out full: must be a new or empty folder, but it holds files. Choose another with --out"),
        (["--out", "net.yaml"], "--out net.yaml: must be a new or empty folder, but it is a file. Choose another"),
        (["--out", "net.yaml/x"], "--out net.yaml/x: must be a folder that can be written, but "),
        (["--device", "tpu"], "--device: must be auto, cpu or cuda, but got 'tpu'. Leave it out to have it chosen."),
        (["--device", "cuda"], "--device: cuda must be present, but PyTorch finds no GPU. Use --device cpu."),
        (["--set", "epochs=2.5"], "net.yaml with --set epochs: epochs: must be a whole number, but got 2.5. "),
        (["--set", "dataset=digitz"], "dataset: must be one of digits, "),
    ],
)
def test_wrong_usage_is_refused_before_any_work(sweeps: Any, options: list[str], message: str) -> None:
    sweeps.monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    sweeps.monkeypatch.setattr(training, "train", lambda *_: pytest.fail("it was trained"))
    config = write_config(sweeps.folder)
    (sweeps.folder / "full").mkdir()
    (sweeps.folder / "full/kept.txt").write_text("mine")
    before = sweeps.files()
    done = sweeps("train", config, *options)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(message)
    assert sweeps.files() == before


def test_an_empty_folder_may_be_used(sweeps: Any) -> None:
    (sweeps.folder / "net").mkdir()
    assert sweeps("train", write_config(sweeps.folder), "--set", "epochs=1").code == 0
    assert names(sweeps.folder / "net") == FILES


SHAPES = {"linear1": (3, 64), "linear2": (1, 3), "linear3": (2, 1)}


@pytest.fixture
def kept(sweeps: Any, ended_row: EndedRow, write_sweep: WriteSweep) -> SweepPaths:
    """A sweep of two trials, the first with its masks."""
    paths = write_sweep(sweeps.folder / "sweeps-out", [ended_row(0), ended_row(1, "failed")])
    paths.masks.mkdir()
    config = replace(CONFIG, width=0.01)  # layers of 3x64, 1x3 and 2x1 weights
    masks = {name: torch.ones(shape, dtype=torch.int8) for name, shape in SHAPES.items()}
    masks["linear1"][0] = 0
    masks["linear2"][:] = torch.tensor([1, -1, 0])
    (paths.masks / "0-2.safetensors").write_bytes(Artifact(config, (1, 8, 8), 2, masks, {}, {}).to_bytes())
    return paths


def test_layers_of_a_kept_network(sweeps: Any, kept: SweepPaths) -> None:
    done = sweeps("layers", "small:0@2", "--json")
    assert json.loads(done.out) == [
        {"layer": "linear1", "weights": 192, "kept": 128, "inverted": 0, "hidden": 64, "remaining": 128 / 192},
        {"layer": "linear2", "weights": 3, "kept": 1, "inverted": 1, "hidden": 1, "remaining": 2 / 3},
        {"layer": "linear3", "weights": 2, "kept": 2, "inverted": 0, "hidden": 0, "remaining": 1.0},
    ]
    assert done.err == f"picture: {kept.masks / '0-2.png'}\n"
    with Image.open(kept.masks / "0-2.png") as image:
        assert image.format == "PNG"
    lines = [" ".join(line.split()) for line in sweeps("layers", "small:0@2").out.splitlines()]
    assert lines[0] == "small, network 0@2: fcn on digits"
    assert "linear2 3 1 1 1 66.67" in lines
    assert "all 197 131 1 65 67.01" in lines


@pytest.mark.parametrize(
    ("trial", "message"),
    [
        (
            "small:1",
            "small, network 1@1: its masks must be in {masks}/1-1.safetensors, but they are not: a sweep keeps those "
            "of its front only. Train it: sweeps train small:1@1; that writes artifact.safetensors, "
            "which can be exported\n",
        ),
        (
            "small:9",
            "small:9: every trial must be one of the sweep with a trained epoch, but 9 is not. There are: 0, 1.",
        ),
        (
            "small",
            "NETWORK: must be NAME:TRIAL@EPOCH, but got 'small'. Write a sweep and one of its networks, e.g. "
            "fcn_digits:12@30, or fcn_digits:12 for that of trial 12 on the front, else its last; ",
        ),
    ],
)
def test_layers_that_are_not_kept(sweeps: Any, kept: SweepPaths, trial: str, message: str) -> None:
    done = sweeps("layers", trial)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(message.replace("{masks}", str(kept.masks)))


def test_a_damaged_file_of_masks_is_named(sweeps: Any, kept: SweepPaths) -> None:
    (kept.masks / "0-2.safetensors").write_bytes(b"nothing")
    done = sweeps("layers", "small:0@2")
    assert done.code == 2
    assert done.err.startswith(f"artifact {kept.masks}/0-2.safetensors: must be a safetensors file, but got ")


def test_of_many_trials_the_first_ones_are_named(sweeps: Any, ended_row: EndedRow, write_sweep: WriteSweep) -> None:
    write_sweep(sweeps.folder / "sweeps-out", [ended_row(trial) for trial in range(12)])
    done = sweeps("layers", "small:99@1")
    assert done.code == 2
    assert done.err.endswith("but 99 is not. There are: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...\n")
