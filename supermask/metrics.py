"""What a pack says of its lanes: losses, accuracies, and what the masks leave of the network and of each layer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor

from supermask.network import MaskedLayer

RECORDED = ("train_loss", "val_loss", "val_accuracy", "remaining", "inverted")
"""The fields of `EpochMetrics` that are recorded of every epoch and of a trial's end."""


@dataclass(frozen=True)
class Evaluation:
    """One lane on one part of the data.

    Attributes:
        lane: Place of the trial in the pack's configurations.
        loss: Mean softmax cross-entropy.
        accuracy: Fraction of images classified correctly.
    """

    lane: int
    loss: float
    accuracy: float


@dataclass(frozen=True)
class LayerFractions:
    """What the mask of one layer leaves.

    Attributes:
        name: Of the layer, e.g. `conv1`.
        remaining: Fraction of the layer's weights that are not hidden.
        inverted: Fraction of the layer's weights that are inverted.
    """

    name: str
    remaining: float
    inverted: float


@dataclass(frozen=True)
class EpochMetrics:
    """One lane after one epoch.

    Attributes:
        lane: Place of the trial in the pack's configurations.
        epoch: Epochs finished, from 1.
        train_loss: Mean loss over the batches of the epoch, each before its update; NaN once a score has overflowed.
        val_loss: Mean loss on the validation part.
        val_accuracy: Fraction of the validation part classified correctly.
        remaining: Fraction of weights that are not hidden, over all layers.
        inverted: Fraction of weights that are inverted, over all layers.
        seconds: Wall-clock time of the epoch divided by the number of lanes.
        layers: The same two fractions of each masked layer, from input to output.
    """

    lane: int
    epoch: int
    train_loss: float
    val_loss: float
    val_accuracy: float
    remaining: float
    inverted: float
    seconds: float
    layers: tuple[LayerFractions, ...] = ()

    @property
    def fault(self) -> str | None:
        """Why the lane has diverged, or None."""
        for name in ("train_loss", "val_loss"):
            value = getattr(self, name)
            if not math.isfinite(value):
                return f"diverged: {name} is {value} after epoch {self.epoch}"
        return None


def fractions_of_layers(
    layers: Sequence[MaskedLayer], counts: Shaped[Tensor, "layer 2 lane"]
) -> list[tuple[LayerFractions, ...]]:
    """What remains and what is inverted of each layer, one tuple per lane.

    Args:
        layers: From input to output.
        counts: Numbers of weights that remain and that are inverted, on the CPU.
    """
    sizes = torch.tensor([layer.size for layer in layers], dtype=torch.float64)
    names = [layer.name for layer in layers]
    lanes = (counts / sizes[:, None, None]).permute(2, 0, 1).tolist()
    return [tuple(LayerFractions(name, *pair) for name, pair in zip(names, lane, strict=True)) for lane in lanes]
