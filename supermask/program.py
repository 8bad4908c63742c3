"""The program of a pack: one training step and one evaluation batch, eager or compiled."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from supermask import layers, masks, optim
from supermask.models import Network
from supermask.state import LayerState


@dataclass(frozen=True)
class Rates:
    """Hyperparameters of one step, one number per lane."""

    learning_rate: Float[Tensor, " lane"]
    weight_decay: Float[Tensor, " lane"]
    momentum: Float[Tensor, " lane"]


class Program:
    """Runs steps over the states of all lanes.

    The loss is compiled apart from the update: the gradients between them come from autograd, and
    each of the two parts is one fused program.
    """

    def __init__(self, network: Network, *, compiled: bool) -> None:
        """Prepares the program.

        Args:
            network: What the lanes train.
            compiled: Whether to fuse it with torch.compile. The first step then takes 10 to 40 s.
        """
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
    return torch.compile(function, dynamic=False) if compiled else function
