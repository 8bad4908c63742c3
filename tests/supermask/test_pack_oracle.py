"""The pack against the slow trainer, step by step and over epochs."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from supermask.config import TrainConfig
from supermask.data import Dataset
from supermask.models import build
from supermask.pack import EpochMetrics, Pack
from tests.supermask.slow_trainer import SlowTrainer


def _assert_same_state(pack: Pack, lane: int, slow: SlowTrainer) -> None:
    state, masks = pack.state_dict(), pack.mask(lane)
    place = pack.lanes.index(lane)
    for depth, layer in enumerate(slow.network.layers):
        for part, own in (("scores", slow.scores), ("velocity", slow.velocity)):
            found = state[f"{layer.name}.{part}"][place]
            torch.testing.assert_close(found, own[depth], rtol=1e-9, atol=1e-11)
        assert state[f"{layer.name}.threshold"][place].item() == pytest.approx(slow.thresholds[depth], rel=1e-9)
        assert torch.equal(masks[layer.name], slow.mask(depth))
    for name, running in slow.norms.items():
        parts = dict(zip(("mean", "variance"), running, strict=True))
        parts |= dict(zip(("gain", "bias"), slow.affine.get(name, ()), strict=False))
        for part, own in parts.items():
            torch.testing.assert_close(state[f"{name}.{part}"][place], own.detach(), rtol=1e-8, atol=1e-10)


def _assert_same_metrics(found: EpochMetrics, train_loss: float, slow: SlowTrainer) -> None:
    images, labels = slow.dataset.train_images[slow.validation], slow.dataset.train_labels[slow.validation]
    val_loss, val_accuracy = slow.evaluate(images, labels)
    masks = torch.cat([slow.mask(depth).flatten() for depth in range(len(slow.weights))])
    assert found.train_loss == pytest.approx(train_loss, rel=1e-9)
    assert found.val_loss == pytest.approx(val_loss, rel=1e-9)
    assert found.val_accuracy == pytest.approx(val_accuracy, abs=1e-12)
    assert found.remaining == pytest.approx(slow.remaining(), abs=1e-12)
    assert found.inverted == pytest.approx((masks < 0).double().mean().item(), abs=1e-12)
    assert found.fault is None


def _compare(configs: Sequence[TrainConfig], dataset: Dataset, epochs: int) -> list[EpochMetrics]:
    """Trains the configurations as one pack and one by one; gives the pack's last metrics."""
    pack = Pack(configs, dataset, dtype=torch.float64)
    slow = [SlowTrainer(config, dataset) for config in configs]
    last: list[EpochMetrics] = []
    for lane, single in enumerate(slow):
        _assert_same_state(pack, lane, single)
    for epoch in range(epochs):
        last = pack.train_epoch()
        for lane, single in enumerate(slow):
            train_loss = single.train_epoch(epoch)
            _assert_same_state(pack, lane, single)
            assert (last[lane].lane, last[lane].epoch) == (lane, epoch + 1)
            _assert_same_metrics(last[lane], train_loss, single)
    return last


RULES = ["threshold", "target"]


def _two(dataset: Dataset, rule: str, network: str, **more: Any) -> list[TrainConfig]:
    shared = {"network": network, "dataset": dataset.name, "mask_rule": rule, **more}
    return [
        TrainConfig(**shared, seed=1, pruning_rate=0.6, learning_rate=0.1, weight_decay=1e-3),
        TrainConfig(
            **shared, seed=2, pruning_rate=0.0, learning_rate=0.02, weight_decay=0.0, momentum=0.5,
            weight_init="normal", weight_scale="xavier", weight_gain=1.5, score_scale="he", score_gain=0.5,
        ),
    ]  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_fcn_equals_the_slow_trainer_step_by_step(rule: str, digits: Dataset) -> None:
    # One batch holds the whole training part, so that an epoch is a step.
    _compare(_two(digits, rule, "fcn", width=0.1, batch_size=1293, epochs=8), digits, 8)


@pytest.mark.parametrize("rule", RULES)
def test_fcn_equals_the_slow_trainer_over_epochs(rule: str, digits: Dataset) -> None:
    last = _compare(
        _two(digits, rule, "fcn", width=0.1, batch_size=64, epochs=4, decay_epochs=2, decay_rate=0.8), digits, 4
    )
    assert last[0].val_accuracy > 0.8  # it has learnt, and moved masks on the way


@pytest.mark.parametrize("rule", RULES)
def test_conv2_equals_the_slow_trainer_step_by_step(rule: str, patches: Dataset) -> None:
    _compare(_two(patches, rule, "conv2", width=0.06, batch_size=180, epochs=5), patches, 5)


@pytest.mark.parametrize("rule", RULES)
def test_conv2_equals_the_slow_trainer_over_epochs(rule: str, patches: Dataset) -> None:
    last = _compare(_two(patches, rule, "conv2", width=0.06, batch_size=10, epochs=3), patches, 3)
    assert last[0].val_accuracy > 0.5


def test_the_constant_schedule_equals_the_slow_trainer(digits: Dataset) -> None:
    _compare(_two(digits, "threshold", "fcn", width=0.05, batch_size=400, epochs=3, schedule="constant"), digits, 3)


@pytest.mark.parametrize("method", ["dense", "zhou", "edge_popup", "multi_prize"])
@pytest.mark.parametrize("steps", ["one step", "epochs"])
def test_rivals_equal_the_slow_trainer(method: str, steps: str, digits: Dataset) -> None:
    epochs, batch = (8, 1293) if steps == "one step" else (3, 64)
    shared: dict[str, Any] = {"dataset": "digits", "method": method, "width": 0.1, "batch_size": batch}
    own: dict[str, Any] = {} if method == "dense" else {"pruning_rate": 0.7}
    configs = [
        TrainConfig(**shared, **own, epochs=epochs, seed=1, weight_decay=1e-4, weight_init="normal"),
        TrainConfig(**shared, epochs=epochs, seed=2, learning_rate=0.01, weight_gain=2.0),
    ]
    _compare(configs, digits, epochs)


# Equal sums tie in the stem's pooling, and the rounding of a CPU's own kernels breaks the ties. Weights of equal size
# times whole pixels give such sums, and so do the constant borders of crops where a kernel has few weights left. Hence
# normal weights, no multi_prize, which makes all sizes equal, and crops in a network without pooling, below.
@pytest.mark.parametrize("method", ["signed", "zhou", "edge_popup", "dense"])
def test_resnet20_equals_the_slow_trainer(method: str, patches: Dataset) -> None:
    shared: dict[str, Any] = {
        "network": "resnet20", "width": 0.25, "dataset": patches.name, "method": method, "batch_size": 45,
        "schedule": "plateau", "plateau_patience": 1, "plateau_factor": 0.5, "stem_norm": "trained", "epochs": 4,
        "weight_init": "normal",
    }  # fmt: skip
    _compare([TrainConfig(**shared, seed=seed, learning_rate=0.2 * seed) for seed in (1, 2)], patches, 4)


def test_crops_and_flips_equal_those_of_the_slow_trainer(patches: Dataset) -> None:
    more: dict[str, Any] = {"augmentation": "crop_flip", "width": 0.1, "batch_size": 45, "epochs": 4}
    _compare(_two(patches, "threshold", "fcn", **more), patches, 4)


@pytest.mark.parametrize("method", ["zhou", "edge_popup", "multi_prize", "dense"])
def test_conv2_of_the_rivals_equals_the_slow_trainer(method: str, patches: Dataset) -> None:
    shared: dict[str, Any] = {
        "network": "conv2", "width": 0.06, "dataset": patches.name, "method": method, "batch_size": 10, "epochs": 2,
    }  # fmt: skip
    _compare([TrainConfig(**shared, seed=seed, learning_rate=0.02 * seed) for seed in (1, 2)], patches, 2)


def test_rule_target_holds_its_fraction_while_rule_threshold_lets_go(digits: Dataset) -> None:
    def remaining(rule: str) -> float:
        config = TrainConfig(
            dataset="digits", mask_rule=rule, width=0.3, pruning_rate=0.75, weight_decay=5e-3, batch_size=64, epochs=5
        )
        pack = Pack([config], digits, dtype=torch.float64)
        return [pack.train_epoch() for _ in range(5)][-1][0].remaining

    sizes = [layer.size for layer in build("fcn", input_shape=(1, 8, 8), classes=10, width=0.3).layers]
    assert remaining("target") == sum(size - round(0.75 * size) for size in sizes) / sum(sizes)
    assert remaining("threshold") < 0.2
