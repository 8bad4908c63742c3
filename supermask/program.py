"""The program of a pack: one training step and one evaluation batch, eager or compiled."""

import functools
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from supermask import layers, masks, optim
from supermask.config import TrainConfig
from supermask.data import Dataset
from supermask.models import Network, build
from supermask.state import LayerState

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rates:
    """Hyperparameters of one step, one number per lane."""

    learning_rate: Float[Tensor, " lane"]
    weight_decay: Float[Tensor, " lane"]
    momentum: Float[Tensor, " lane"]


RECOMPILE_LIMIT = 256
"""Programs kept by a process: one for each number of lanes and shape of a layer; torch's own limit is 8."""


@functools.cache
def program(network: Network, *, compiled: bool) -> "Program":
    """The program of a network, one per process, so that a later pack of equal shapes compiles nothing.

    Args:
        network: What the lanes train.
        compiled: Whether to fuse it with torch.compile. The first step then takes 10 to 40 s.
    """
    return Program(network, compiled=compiled)


class Program:
    """Runs steps over the states of all lanes.

    The loss is compiled apart from the update: the gradients between them come from autograd, and
    each of the two parts is one fused program.
    """

    def __init__(self, network: Network, *, compiled: bool) -> None:
        """Prepares the program; see `program`."""
        self._network = network
        self._mean_losses = _maybe_compiled(self._mean_losses_eager, compiled)
        self._counts = _maybe_compiled(self._counts_eager, compiled)
        self._update = _maybe_compiled(_update, compiled)

    def step(
        self,
        states: Sequence[LayerState],
        images: Float[Tensor, "batch channel height width"],
        labels: Int64[Tensor, " batch"],
        rates: Rates,
    ) -> Float[Tensor, " lane"]:
        """One update of all scores, in place.

        Returns:
            The loss of each lane before the update, mean over the batch.
        """
        masked = [state.masked for state in states]
        losses = self._mean_losses(masked, [state.scale for state in states], images, labels)
        # Lanes share no weight, so the gradient of the sum is every lane's own gradient.
        gradients = torch.autograd.grad(losses.sum(), masked)
        with torch.no_grad():
            for state, gradient in zip(states, gradients, strict=True):
                self._update(
                    gradient,
                    masked=state.masked.detach(),
                    scores=state.scores,
                    velocity=state.velocity,
                    threshold=state.threshold,
                    weights=state.weights,
                    learning_rate=rates.learning_rate,
                    weight_decay=rates.weight_decay,
                    momentum=rates.momentum,
                )
        return losses.detach()

    def evaluate(
        self, states: Sequence[LayerState], images: Float[Tensor, "batch channel height width"], labels: Tensor
    ) -> tuple[Float[Tensor, " lane"], Int64[Tensor, " lane"]]:
        """Sum of the losses and number of hits of each lane over a batch.

        Args:
            states: All layers.
            images: Standardised images.
            labels: Their classes; a negative one marks an image that only fills the batch up and is not counted.
        """
        with torch.no_grad():
            return self._counts([state.masked for state in states], [state.scale for state in states], images, labels)

    def _mean_losses_eager(
        self, masked: list[Tensor], scales: list[Tensor], images: Tensor, labels: Tensor
    ) -> Float[Tensor, " lane"]:
        return layers.losses(layers.logits(self._network, masked, scales, images), labels).mean(dim=1)

    def _counts_eager(
        self, masked: list[Tensor], scales: list[Tensor], images: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        counted = labels >= 0
        outputs = layers.logits(self._network, masked, scales, images)
        loss = torch.where(counted, layers.losses(outputs, labels.clamp_min(0)), 0.0)
        return loss.sum(dim=1), ((outputs.argmax(dim=2) == labels) & counted).sum(dim=1)


def _update(
    gradient: Tensor,
    *,
    masked: Tensor,
    scores: Tensor,
    velocity: Tensor,
    threshold: Tensor,
    weights: Tensor,
    learning_rate: Tensor,
    weight_decay: Tensor,
    momentum: Tensor,
) -> None:
    """Gradient of the scores, optimiser step and new masked weights of one layer: one pass over memory when fused."""
    optim.nesterov_update(
        scores,
        velocity,
        masks.score_gradients(gradient, weights, scores),
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        momentum=momentum,
    )
    masked.copy_(masks.masked_weights(scores, threshold, weights, masked.dtype))


def _maybe_compiled(function: Callable[..., Any], compiled: bool) -> Callable[..., Any]:
    if not compiled:
        return function
    from torch._dynamo import config as dynamo  # takes 2 s

    # Each layer shape and number of lanes is a program of its own; past Dynamo's limit (8) the rest would run eagerly.
    dynamo.recompile_limit = dynamo.accumulated_recompile_limit = RECOMPILE_LIMIT
    return torch.compile(function, dynamic=False)


COMPILE_PAYS = 1e9
"""Weights times steps of one lane above which compiling is worth its 10 to 40 s."""


def compile_pays(config: TrainConfig, data: Dataset, device: torch.device) -> bool:
    """Whether a pack of such trials trains long enough to earn the time of compiling back.

    The answer depends on the structure alone, not on the number of lanes: compiled and eager arithmetic
    round differently, and a trial's result must not depend on its company.
    """
    network = build(config.network, input_shape=data.input_shape, classes=data.classes, width=config.width)
    images = len(data.train_labels) * (1 - config.validation_fraction)
    steps = config.epochs * images / config.batch_size
    return steps * network.parameters > COMPILE_PAYS and compiler_present(device)


@functools.cache
def compiler_present(device: torch.device) -> bool:
    """Whether torch.compile can work here; says so once where it cannot.

    It needs a C++ compiler, the one in the environment variable CXX or one on the path.
    """
    names = (os.environ.get("CXX"), "g++", "clang++", "c++")
    if any(name and shutil.which(name) for name in names):
        return True
    _log.warning("torch.compile on %s: no C++ compiler found; training eagerly, slower. Install g++.", device.type)
    return False
