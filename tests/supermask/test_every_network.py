"""Every network and every method trains: losses are finite, masks move, and a lane is what it is alone."""

import math
from typing import Any

import pytest
import torch

from supermask.config import METHODS, NETWORKS, TrainConfig
from supermask.data import Dataset
from supermask.pack import Pack


@pytest.fixture(scope="module")
def tiles() -> Dataset:
    """Images just large enough for the four poolings of Conv8."""
    random = torch.Generator().manual_seed(3)
    images = torch.randint(256, (44, 3, 16, 16), dtype=torch.uint8, generator=random)
    labels = torch.randint(10, (44,), generator=random)
    return Dataset("folder:tiles", images, labels, images[:4], labels[:4], classes=10)


def _pack(tiles: Dataset, seeds: tuple[int, ...], network: str, method: str, epochs: int = 1) -> Pack:
    shared: dict[str, Any] = {
        "network": network,
        "dataset": "folder:tiles",
        "method": method,
        "width": 0.1,
        "batch_size": 20,
    }
    resnet: dict[str, Any] = (
        # Weights of equal size give equal sums, and each CPU's rounding decides which of them the stem's pooling takes.
        {"schedule": "plateau", "augmentation": "crop_flip", "weight_init": "normal"}
        if network.startswith("resnet")
        else {}
    )
    configs = [TrainConfig(**(shared | resnet), epochs=epochs, learning_rate=1.0, seed=seed) for seed in seeds]
    return Pack(configs, tiles, dtype=torch.float64)


CASES = [*((network, "signed") for network in NETWORKS), *((network, "dense") for network in ("conv8", "resnet20")),
         *(("conv4", method) for method in METHODS[1:])]  # fmt: skip


@pytest.mark.parametrize(("network", "method"), CASES)
def test_it_trains(network: str, method: str, tiles: Dataset) -> None:
    pair, alone = _pack(tiles, (1, 2), network, method), _pack(tiles, (2,), network, method)
    before = pair.state_dict()
    found, single = pair.train_epoch(), alone.train_epoch()
    assert pair.complete() == [0, 1]
    for metrics in found:
        assert metrics.fault is None
        assert len(metrics.layers) == len(pair.network.layers)
        assert math.isfinite(metrics.val_loss)
        assert 0 < metrics.remaining <= 1
    after = pair.state_dict()
    moved = [not torch.equal(before[name], after[name]) for name in before if name.endswith(".scores")]
    assert all(moved)
    assert found[1].train_loss == pytest.approx(single[0].train_loss, rel=1e-9)
    assert found[1].remaining == pytest.approx(single[0].remaining, abs=1e-12)


@pytest.mark.parametrize("method", ["signed", "zhou", "multi_prize"])
def test_a_resnet_goes_on_from_its_state_and_after_dropping(method: str, tiles: Dataset) -> None:
    through, cut = (_pack(tiles, (1, 2, 3), "resnet20", method, epochs=4) for _ in range(2))
    through.train_epoch()
    through.drop([1])
    cut.load_state_dict(through.state_dict())
    for _ in range(3):
        assert [vars(lane) | {"seconds": 0} for lane in through.train_epoch()] == [
            vars(lane) | {"seconds": 0} for lane in cut.train_epoch()
        ]
    assert through.complete() == cut.complete() == [0, 2]
    assert [(t.loss, t.accuracy) for t in through.evaluate("test")] == [
        (t.loss, t.accuracy) for t in cut.evaluate("test")
    ]


def test_the_plateau_schedule_ends_a_lane_before_the_others(tiles: Dataset) -> None:
    shared: dict[str, Any] = {
        "dataset": "folder:tiles", "width": 0.1, "batch_size": 20, "schedule": "plateau", "epochs": 50,
        "weight_decay": 0.0, "plateau_reductions": 1,
    }  # fmt: skip
    # A learning rate of almost nothing: the loss stands still, so each epoch but the first is a stall.
    still = TrainConfig(**shared, learning_rate=1e-12, plateau_patience=1)
    lively = TrainConfig(**shared, learning_rate=0.2, plateau_patience=50)
    pack = Pack([still, lively], tiles, dtype=torch.float64)
    epochs = 0
    while not pack.complete():
        pack.train_epoch()
        epochs += 1
    assert pack.complete() == [0]
    assert epochs < 12  # which images an epoch leaves out moves its loss by more than the schedule asks for
    pack.drop([0])
    assert pack.complete() == []
