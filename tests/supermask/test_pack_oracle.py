"""The pack against a trainer written as the paper reads: one model, float64, nothing fused."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from supermask import data
from supermask.config import TrainConfig
from supermask.data import Dataset
from supermask.initialisers import initial_scores, unit_weights, weight_scale
from supermask.models import Network, Pool, build
from supermask.pack import EpochMetrics, Pack

REFRESH_STEPS = 16


class _Mask(torch.autograd.Function):
    """Forward W * M(S), backward dL/dS = dL/d(W * M) * W."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, weights: Tensor, threshold: float) -> Tensor:
        ctx.save_for_backward(weights)
        return torch.where(scores.abs() > threshold, scores.sign(), torch.zeros_like(scores)) * weights

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (weights,) = ctx.saved_tensors
        return gradients[0] * weights, None, None


def _threshold(config: TrainConfig, scores: Tensor) -> float:
    magnitudes = np.sort(scores.detach().abs().numpy().ravel())
    if config.mask_rule == "threshold":
        return float(config.pruning_rate * magnitudes[-1])
    hidden = round(config.pruning_rate * len(magnitudes))
    return float(magnitudes[hidden - 1]) if hidden else -1.0


def _standardise(images: Tensor) -> Tensor:
    values = images.numpy().astype(np.float64)
    flat = values.reshape(len(values), -1)
    deviation = np.maximum(flat.std(axis=1), 1 / np.sqrt(flat.shape[1]))
    return torch.from_numpy((values - flat.mean(axis=1)[:, None, None, None]) / deviation[:, None, None, None])


@dataclass
class SlowTrainer:
    """One model, one step after the other."""

    config: TrainConfig
    dataset: Dataset

    def __post_init__(self) -> None:
        config, dataset = self.config, self.dataset
        self.network: Network = build(
            config.network, input_shape=dataset.input_shape, classes=dataset.classes, width=config.width
        )
        numbered = list(enumerate(self.network.layers))
        self.weights = [unit_weights(config, layer, k).double() * weight_scale(config, layer) for k, layer in numbered]
        self.scores = [initial_scores(config, layer, k).double().requires_grad_() for k, layer in numbered]
        self.velocity = [torch.zeros_like(scores) for scores in self.scores]
        self.thresholds = [_threshold(config, scores) for scores in self.scores]
        self.train, self.validation = data.split(dataset, config)

    def forward(self, images: Tensor) -> Tensor:
        values, depth = _standardise(images), 0
        for step in self.network.steps:
            if isinstance(step, Pool):
                values = functional.max_pool2d(values, 2)
                continue
            weight: Any = _Mask.apply(self.scores[depth], self.weights[depth], self.thresholds[depth])
            if len(step.shape) == 4:
                values = functional.conv2d(values, weight, padding=1)
            else:
                values = functional.linear(values.flatten(1), weight)
            depth += 1
            if depth < len(self.weights):
                values = functional.elu(values)
        return values

    def train_step(self, indices: Tensor, time: float) -> float:
        config = self.config
        factor = config.decay_rate ** (time / config.decay_epochs) if config.schedule == "exponential" else 1.0
        rate, decay = config.learning_rate * factor, config.weight_decay * factor
        outputs = self.forward(self.dataset.train_images[indices])
        loss = functional.cross_entropy(outputs, self.dataset.train_labels[indices])
        gradients = torch.autograd.grad(loss, self.scores)
        with torch.no_grad():
            for scores, velocity, gradient in zip(self.scores, self.velocity, gradients, strict=True):
                scores.mul_(1 - decay)
                velocity.mul_(config.momentum).sub_(rate * gradient)
                scores.add_(config.momentum * velocity - rate * gradient)
        return loss.item()

    def train_epoch(self, epoch: int) -> float:
        order = data.batches(self.train, self.config, epoch)
        losses = []
        for step, indices in enumerate(order):
            losses.append(self.train_step(indices, epoch + step / len(order)))
            if self.config.mask_rule == "target" and (step % REFRESH_STEPS == 0 or step == len(order) - 1):
                self.thresholds = [_threshold(self.config, scores) for scores in self.scores]
        return sum(losses) / len(losses)

    def evaluate(self, images: Tensor, labels: Tensor) -> tuple[float, float]:
        with torch.no_grad():
            outputs = self.forward(images)
        loss = functional.cross_entropy(outputs, labels)
        return loss.item(), (outputs.argmax(dim=1) == labels).double().mean().item()

    def mask(self, depth: int) -> Tensor:
        scores = self.scores[depth].detach()
        return (scores.sign() * (scores.abs() > self.thresholds[depth])).to(torch.int8)


def _assert_same_state(pack: Pack, lane: int, slow: SlowTrainer) -> None:
    state, masks = pack.state_dict(), pack.mask(lane)
    place = pack.lanes.index(lane)
    for depth, layer in enumerate(slow.network.layers):
        for part, own in (("scores", slow.scores), ("velocity", slow.velocity)):
            found = state[f"{layer.name}.{part}"][place]
            torch.testing.assert_close(found, own[depth].detach(), rtol=1e-9, atol=1e-11)
        assert state[f"{layer.name}.threshold"][place].item() == pytest.approx(slow.thresholds[depth], rel=1e-9)
        assert torch.equal(masks[layer.name], slow.mask(depth))


def _assert_same_metrics(found: EpochMetrics, train_loss: float, slow: SlowTrainer) -> None:
    images, labels = slow.dataset.train_images[slow.validation], slow.dataset.train_labels[slow.validation]
    val_loss, val_accuracy = slow.evaluate(images, labels)
    masks = torch.cat([slow.mask(depth).flatten() for depth in range(len(slow.weights))])
    assert found.train_loss == pytest.approx(train_loss, rel=1e-9)
    assert found.val_loss == pytest.approx(val_loss, rel=1e-9)
    assert found.val_accuracy == pytest.approx(val_accuracy, abs=1e-12)
    assert found.remaining == pytest.approx((masks != 0).double().mean().item(), abs=1e-12)
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
        TrainConfig(**shared, seed=1, pruning_rate=0.6, learning_rate=0.1, weight_decay=1e-3, decay_epochs=2),
        TrainConfig(
            **shared, seed=2, pruning_rate=0.0, learning_rate=0.02, weight_decay=0.0, momentum=0.5, decay_rate=0.6,
            weight_init="normal", weight_scale="xavier", weight_gain=1.5, score_scale="he", score_gain=0.5,
        ),
    ]  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_fcn_equals_the_slow_trainer_step_by_step(rule: str, digits: Dataset) -> None:
    # One batch holds the whole training part, so that an epoch is a step.
    _compare(_two(digits, rule, "fcn", width=0.1, batch_size=1293, epochs=8), digits, 8)


@pytest.mark.parametrize("rule", RULES)
def test_fcn_equals_the_slow_trainer_over_epochs(rule: str, digits: Dataset) -> None:
    last = _compare(_two(digits, rule, "fcn", width=0.1, batch_size=64, epochs=4), digits, 4)
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
