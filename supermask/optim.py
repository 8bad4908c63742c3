"""SGD with Nesterov momentum and decoupled weight decay, one set of hyperparameters per lane."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from supermask.config import TrainConfig
from supermask.masks import per_lane


@dataclass(frozen=True)
class Rates:
    """Hyperparameters of one step, one number per lane, and the keys of the draws that follow it."""

    learning_rate: Float[Tensor, " lane"]
    weight_decay: Float[Tensor, " lane"]
    momentum: Float[Tensor, " lane"]
    keys: Int64[Tensor, " lane"]


PLATEAU_DELTA = 1e-4
"""By how much a training loss must fall below the lowest one to count as lower."""


@dataclass
class Plateau:
    """What the `plateau` schedule remembers of one lane.

    Attributes:
        lowest: Lowest training loss of an epoch.
        stalled: Epochs since then, or since the last reduction.
        reductions: Stalls so far.
    """

    lowest: float = math.inf
    stalled: int = 0
    reductions: int = 0

    def note(self, train_loss: float, config: TrainConfig) -> None:
        """An epoch ended."""
        if train_loss < self.lowest - PLATEAU_DELTA:
            self.lowest, self.stalled = train_loss, 0
            return
        self.stalled += 1
        if self.stalled >= config.plateau_patience:
            self.reductions, self.stalled = self.reductions + 1, 0

    def is_over(self, config: TrainConfig) -> bool:
        """Whether the loss stalled once more after the last reduction: training ends."""
        return config.schedule == "plateau" and self.reductions > config.plateau_reductions


def schedule_factors(
    config: TrainConfig, *, epoch: int, steps_per_epoch: int, reductions: int = 0
) -> Float64[np.ndarray, " step"]:
    """Factors on learning rate and weight decay at each step of one epoch.

    `exponential`: decay_rate ** (t / decay_epochs), t in epochs and continuous in steps. `plateau`: plateau_factor **
    reductions. `constant`: 1.

    Args:
        config: Gives the schedule.
        epoch: Epochs finished before this one.
        steps_per_epoch: Length of the result.
        reductions: Stalls of the training loss so far.
    """
    if config.schedule != "exponential":
        factor = config.plateau_factor**reductions if config.schedule == "plateau" else 1.0
        return np.full(steps_per_epoch, factor)
    return config.decay_rate ** ((epoch + np.arange(steps_per_epoch) / steps_per_epoch) / config.decay_epochs)


def rates(
    configs: Sequence[TrainConfig],
    *,
    epoch: int,
    reductions: Sequence[int],
    keys: Sequence[Int64[Tensor, " lane"]],
    dtype: torch.dtype,
) -> list[Rates]:
    """The hyperparameters of each step of one epoch.

    Args:
        configs: One per lane.
        epoch: Epochs finished before this one.
        reductions: Stalls of each lane's training loss so far.
        keys: Of the draws that follow each step; as many as there are steps, on the device of the result.
        dtype: Of the result.
    """
    of_configs = [
        schedule_factors(config, epoch=epoch, steps_per_epoch=len(keys), reductions=stalls)
        for config, stalls in zip(configs, reductions, strict=True)
    ]
    factors = torch.from_numpy(np.stack(of_configs))
    of_lanes = {
        name: torch.tensor([getattr(config, name) for config in configs], dtype=torch.float64)[:, None]
        for name in ("learning_rate", "weight_decay", "momentum")
    }
    device = keys[0].device
    rate, decay = (
        (of_lanes[name] * factors).T.contiguous().to(device, dtype).unbind()
        for name in ("learning_rate", "weight_decay")
    )
    momentum = of_lanes["momentum"][:, 0].to(device, dtype)
    return [Rates(*pair, momentum, key) for pair, key in zip(zip(rate, decay, strict=True), keys, strict=True)]


def nesterov_update(
    scores: Float[Tensor, "lane ..."],
    velocity: Float[Tensor, "lane ..."],
    gradients: Float[Tensor, "lane ..."],
    *,
    learning_rate: Float[Tensor, " lane"],
    weight_decay: Float[Tensor, " lane"],
    momentum: Float[Tensor, " lane"],
) -> None:
    """One step, in place: S <- (1 - wd) S; v <- m v - lr g; S <- S + m v - lr g.

    The decay is **not** multiplied by the learning rate, unlike in PyTorch's own optimisers, and the
    velocity carries the learning rate of its step, as in the authors' TensorFlow code.
    """
    rate, decay, inertia = (per_lane(value, scores) for value in (learning_rate, weight_decay, momentum))
    step = rate * gradients
    moved = inertia * velocity - step
    velocity.copy_(moved)
    scores.copy_(scores * (1 - decay) + inertia * moved - step)
