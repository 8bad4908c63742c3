"""Every epoch is a network: what a training is after an epoch is what one of so many epochs ends with."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from supermask.artifact import Artifact
from supermask.config import METHODS, SCHEDULES, TrainConfig
from supermask.data import Dataset
from supermask.metrics import RECORDED
from supermask.pack import Pack

EPOCHS = 4
METHODS_AND_RULES = [*((method, "threshold") for method in METHODS), ("signed", "target")]


def config(epochs: int, **changes: Any) -> TrainConfig:
    values = {"dataset": "digits", "width": 0.1, "batch_size": 128, "learning_rate": 0.3}
    return TrainConfig(**(values | changes), seed=5, epochs=epochs)


def trained(config: TrainConfig, data: Dataset) -> tuple[list[dict[str, Any]], Pack]:
    """What is known of every epoch of a training, and its end."""
    pack = Pack([config], data)
    known = list[dict[str, Any]]()
    while not pack.complete():
        (found,) = pack.train_epoch()
        metrics = {name: getattr(found, name) for name in ("epoch", *RECORDED, "layers")}
        state = {name: value for name, value in pack.state_dict().items() if isinstance(value, Tensor)}
        artifact = Artifact.of(pack, 0, {"val_accuracy": found.val_accuracy}).to_bytes()
        known.append({"metrics": metrics, "state": state, "artifact": artifact})
    return known, pack


def check(data: Dataset, **changes: Any) -> None:
    whole, _ = trained(config(EPOCHS, **changes), data)
    for epochs, expected in enumerate(whole, start=1):
        shorter, pack = trained(config(epochs, **changes), data)
        assert shorter[-1]["metrics"] == expected["metrics"]
        assert shorter[-1]["artifact"] == expected["artifact"]
        assert all(torch.equal(value, expected["state"][name]) for name, value in shorter[-1]["state"].items())
        assert pack.evaluate("validation")[0].accuracy == expected["metrics"]["val_accuracy"]


@pytest.mark.parametrize(
    ("method", "mask_rule", "schedule"),
    [(*method, schedule) for method, schedule in itertools.product(METHODS_AND_RULES, SCHEDULES)],
)
def test_a_longer_training_begins_with_the_shorter_ones(
    method: str, mask_rule: str, schedule: str, digits: Dataset
) -> None:
    stalls = {"plateau_patience": 1, "plateau_reductions": 9} if schedule == "plateau" else {}
    pruned = {} if method == "dense" else {"pruning_rate": 0.4}
    check(digits, method=method, mask_rule=mask_rule, schedule=schedule, **stalls, **pruned)


def test_so_does_one_with_batch_norms_and_augmented_images(patches: Dataset) -> None:
    changes = {"network": "resnet20", "width": 0.25, "stem_norm": "trained", "augmentation": "crop_flip"}
    check(patches, dataset="folder:patches", batch_size=20, **changes)
