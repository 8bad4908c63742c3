"""A trainer written as the papers read: one model, float64, nothing fused. The oracle of the pack."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from supermask import data
from supermask.config import TrainConfig
from supermask.data import Dataset
from supermask.initialisers import initial_scores, unit_weights, weight_scale
from supermask.models import build
from supermask.network import Elu, MaskedLayer, Network, Norm, Pool, Residual

REFRESH_STEPS = 16
NORM_MOMENTUM, NORM_EPSILON = 0.1, 1e-5


def _threshold(config: TrainConfig, scores: Tensor) -> float:
    if config.method in ("dense", "zhou"):
        return 0.0
    values = scores.detach().numpy().ravel()
    ranks = np.sort(values if config.method == "edge_popup" else np.abs(values))
    if config.method == "signed" and config.mask_rule == "threshold":
        return float(config.pruning_rate * ranks[-1])
    hidden = round(config.pruning_rate * len(ranks))
    return float(ranks[hidden - 1]) if hidden else -np.inf


def _standardise(images: Tensor) -> Tensor:
    values = images.numpy().astype(np.float64)
    flat = values.reshape(len(values), -1)
    deviation = np.maximum(flat.std(axis=1), 1 / np.sqrt(flat.shape[1]))
    return torch.from_numpy((values - flat.mean(axis=1)[:, None, None, None]) / deviation[:, None, None, None])


def _crop_and_flip(images: Tensor, config: TrainConfig, epoch: int, step: int, steps: int) -> Tensor:
    if config.augmentation == "none":
        return images
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([config.data_seed, 1 + epoch, 1])))
    moves = random.integers([9, 9, 2], size=(steps, config.batch_size, 3))[step]
    out = np.empty_like(images.numpy())
    for image, (down, right, flip) in enumerate(moves):
        padded = np.pad(images[image].numpy(), [(0, 0), (4, 4), (4, 4)])
        cut = padded[:, down : down + images.shape[2], right : right + images.shape[3]]
        out[image] = cut[:, :, ::-1] if flip else cut
    return torch.from_numpy(out)


def _hash(values: Any) -> Any:
    with np.errstate(over="ignore"):
        values = np.asarray(values, dtype=np.uint32)
        values = (values ^ (values >> np.uint32(16))) * np.uint32(0x7FEB352D)
        values = (values ^ (values >> np.uint32(15))) * np.uint32(0x31848BAB)
        return values ^ (values >> np.uint32(16))


def _draws(key: int, depth: int, shape: torch.Size) -> Tensor:
    """Uniform numbers out of a step's key, the layer and the position."""
    position = np.arange(np.prod(shape), dtype=np.uint32)
    bits = _hash(_hash(position) ^ _hash(np.uint32((key + depth) % 2**32)))
    return torch.from_numpy((bits & np.uint32(0xFFFFFF)) / 2.0**24).view(shape)


def _product(layer: MaskedLayer, values: Tensor, weight: Tensor) -> Tensor:
    if layer.is_convolution:
        return functional.conv2d(values, weight, stride=layer.stride, padding=layer.shape[-1] // 2)
    return values.flatten(1) @ weight.T


@dataclass
class SlowTrainer:
    """One model, one step after the other; the gradient of the scores is written out for each method."""

    config: TrainConfig
    dataset: Dataset

    def __post_init__(self) -> None:
        config, dataset = self.config, self.dataset
        self.network: Network = build(
            config.network,
            input_shape=dataset.input_shape,
            classes=dataset.classes,
            width=config.width,
            stem_norm=config.stem_norm,
        )
        numbered = list(enumerate(self.network.layers))
        self.weights = [unit_weights(config, layer, k).double() * weight_scale(config, layer) for k, layer in numbered]
        self.scores = [initial_scores(config, layer, k).double() for k, layer in numbered]
        if config.method == "dense":
            self.scores = [weights.clone() for weights in self.weights]
        if config.method == "zhou":
            chance = np.float64(1 - config.pruning_rate)
            self.scores = [scores + float(np.log(chance / (1 - chance))) for scores in self.scores]
        self.velocity = [torch.zeros_like(scores) for scores in self.scores]
        self.refresh()
        self.norms = {
            norm.name: [torch.zeros(norm.channels).double(), torch.ones(norm.channels).double()]
            for norm in self.network.norms
        }
        self.affine = {
            norm.name: [torch.ones(norm.channels).double(), torch.zeros(norm.channels).double()]
            for norm in self.network.norms
            if norm.trained
        }
        self.affine_velocity = {name: [torch.zeros_like(part) for part in parts] for name, parts in self.affine.items()}
        self.lowest, self.stalled, self.reductions = np.inf, 0, 0
        self.train, self.validation = data.split(dataset, config)

    def refresh(self) -> None:
        """Thresholds, and mean magnitude of the weights that they show."""
        self.thresholds = [_threshold(self.config, scores) for scores in self.scores]
        shown = [scores.abs() > tau for scores, tau in zip(self.scores, self.thresholds, strict=True)]
        self.gains = [weights.abs()[own].mean() for weights, own in zip(self.weights, shown, strict=True)]

    def effective(self, depth: int, key: int | None) -> Tensor:
        """What a layer computes with; without a key as after training."""
        scores, weights, tau = self.scores[depth], self.weights[depth], self.thresholds[depth]
        match self.config.method:
            case "dense":
                return scores.clone()
            case "zhou" if key is not None:
                return weights * (_draws(key, depth, scores.shape) < 1 / (1 + torch.exp(-scores)))
            case "zhou":
                return weights / (1 + torch.exp(-scores))
            case "edge_popup":
                return weights * (scores > tau) / np.sqrt(1 - self.config.pruning_rate)
            case "multi_prize":
                return weights.sign() * (scores.abs() > tau) * self.gains[depth]
            case _:
                return weights * scores.sign() * (scores.abs() > tau)

    def backward(self, depth: int, gradient: Tensor) -> Tensor:
        """From the gradient of the effective weights to that of the scores."""
        scores, weights = self.scores[depth], self.weights[depth]
        match self.config.method:
            case "dense":
                return gradient
            case "zhou":
                return gradient * weights * torch.exp(-scores) / (1 + torch.exp(-scores)) ** 2
            case "edge_popup":
                return gradient * weights / np.sqrt(1 - self.config.pruning_rate)
            case "multi_prize":
                return gradient * self.gains[depth] * weights.sign() * scores.sign()
            case _:
                return gradient * weights

    def forward(self, images: Tensor, weights: list[Tensor], *, training: bool) -> Tensor:
        return self.through(self.network.steps, _standardise(images), iter(weights), training)

    def through(self, steps: Any, values: Tensor, left: Iterator[Tensor], training: bool) -> Tensor:
        for step in steps:
            if isinstance(step, Residual):
                main = self.through(step.main, values, left, training)
                values = main + self.through(step.shortcut, values, left, training)
            elif isinstance(step, Norm):
                values = self.normalise(step, values, training=training)
            elif isinstance(step, MaskedLayer):
                values = _product(step, values, next(left))
            elif isinstance(step, Pool):
                values = functional.max_pool2d(values, step.size, step.stride, 1 if step.stride == 1 else 0)
            else:
                values = functional.elu(values) if isinstance(step, Elu) else values.mean((2, 3))
        return values

    def normalise(self, norm: Norm, values: Tensor, *, training: bool) -> Tensor:
        running = self.norms[norm.name]
        mean, variance = running
        if training:
            mean, variance = values.mean((0, 2, 3)), values.var((0, 2, 3), unbiased=False)
            count = values.numel() // norm.channels
            for place, batch in enumerate((mean, variance * count / (count - 1))):
                running[place] = (1 - NORM_MOMENTUM) * running[place] + NORM_MOMENTUM * batch.detach()
        out = (values - mean[:, None, None]) / (variance[:, None, None] + NORM_EPSILON).sqrt()
        if norm.trained:
            gain, bias = self.affine[norm.name]
            out = out * gain[:, None, None] + bias[:, None, None]
        return out

    def train_step(self, images: Tensor, labels: Tensor, time: float, key: int) -> float:
        config = self.config
        factor = config.decay_rate ** (time / config.decay_epochs) if config.schedule == "exponential" else 1.0
        if config.schedule == "plateau":
            factor = config.plateau_factor**self.reductions
        rate, decay = config.learning_rate * factor, config.weight_decay * factor
        leaves = [self.effective(depth, key).requires_grad_() for depth in range(len(self.scores))]
        extra = [part.requires_grad_() for parts in self.affine.values() for part in parts]
        loss = functional.cross_entropy(self.forward(images, leaves, training=True), labels)
        gradients = torch.autograd.grad(loss, [*leaves, *extra])
        with torch.no_grad():
            for depth, gradient in enumerate(gradients[: len(leaves)]):
                own = self.backward(depth, gradient)
                self.scores[depth].mul_(1 - decay)
                self.move(self.scores[depth], self.velocity[depth], own, rate)
            velocities = [part for parts in self.affine_velocity.values() for part in parts]
            for part, velocity, gradient in zip(extra, velocities, gradients[len(leaves) :], strict=True):
                self.move(part, velocity, gradient, rate)
        return loss.item()

    def move(self, value: Tensor, velocity: Tensor, gradient: Tensor, rate: float) -> None:
        velocity.mul_(self.config.momentum).sub_(rate * gradient)
        value.add_(self.config.momentum * velocity - rate * gradient)

    def train_epoch(self, epoch: int) -> float:
        order = data.batches(self.train, self.config, epoch)
        random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.config.seed, 2, epoch])))
        keys = random.integers(2**32, size=len(order) + 1)
        losses = []
        for step, indices in enumerate(order):
            images = _crop_and_flip(self.dataset.train_images[indices], self.config, epoch, step, len(order))
            labels = self.dataset.train_labels[indices]
            losses.append(self.train_step(images, labels, epoch + step / len(order), int(keys[step])))
            refreshed = self.config.mask_rule == "target" or self.config.method in ("edge_popup", "multi_prize")
            if refreshed and (step % REFRESH_STEPS == 0 or step == len(order) - 1):
                self.refresh()
        mean = sum(losses) / len(losses)
        self.stalled = 0 if mean < self.lowest - 1e-4 else self.stalled + 1
        self.lowest = mean if self.stalled == 0 else self.lowest
        if self.stalled == self.config.plateau_patience:
            self.reductions, self.stalled = self.reductions + 1, 0
        return mean

    def evaluate(self, images: Tensor, labels: Tensor) -> tuple[float, float]:
        weights = [self.effective(depth, None) for depth in range(len(self.scores))]
        with torch.no_grad():
            outputs = self.forward(images, weights, training=False)
        loss = functional.cross_entropy(outputs, labels)
        return loss.item(), (outputs.argmax(dim=1) == labels).double().mean().item()

    def mask(self, depth: int) -> Tensor:
        scores, tau = self.scores[depth], self.thresholds[depth]
        match self.config.method:
            case "dense":
                return torch.ones_like(scores, dtype=torch.int8)
            case "signed":
                return (scores.sign() * (scores.abs() > tau)).to(torch.int8)
            case "multi_prize":
                return (scores.abs() > tau).to(torch.int8)
            case _:
                return (scores > tau).to(torch.int8)

    def remaining(self) -> float:
        """Fraction of the weights that the masks show; of Bernoulli masks the expected one."""
        if self.config.method == "zhou":
            return torch.cat([torch.sigmoid(scores).flatten() for scores in self.scores]).mean().item()
        shown = torch.cat([self.mask(depth).flatten() for depth in range(len(self.scores))])
        return (shown != 0).double().mean().item()
