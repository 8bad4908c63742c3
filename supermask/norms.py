"""Batch norms of the lanes: running statistics, and where trained, gain and bias."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from supermask import optim
from supermask.layers import LaneNorm
from supermask.network import Norm
from supermask.optim import Rates
from supermask.state import take_over


@dataclass
class NormState:
    """One batch norm of all lanes; every tensor is `[lane, channel]`, in the accumulation dtype.

    Attributes:
        trained: Whether gain and bias are trained; else they stay 1 and 0 and take no part.
        mean: Running mean.
        variance: Running variance.
        gain: Factor on each channel.
        bias: Summand of each channel.
        gain_velocity: Momentum of the gain.
        bias_velocity: Momentum of the bias.
    """

    trained: bool
    mean: Float[Tensor, "lane channel"]
    variance: Float[Tensor, "lane channel"]
    gain: Float[Tensor, "lane channel"]
    bias: Float[Tensor, "lane channel"]
    gain_velocity: Float[Tensor, "lane channel"]
    bias_velocity: Float[Tensor, "lane channel"]

    @classmethod
    def start(cls, norm: Norm, lanes: int, *, device: torch.device, wide: torch.dtype) -> "NormState":
        """As before the first step: mean 0, variance 1, gain 1, bias 0."""
        zeros = torch.zeros(lanes, norm.channels, device=device, dtype=wide)
        ones = torch.ones_like(zeros)
        return cls(norm.trained, zeros, ones, ones.clone(), *(zeros.clone() for _ in range(3)))

    @property
    def affine(self) -> tuple[Tensor, ...]:
        """Gain and bias where they are trained, else nothing."""
        return (self.gain, self.bias) if self.trained else ()

    def lanes(self) -> LaneNorm:
        """What the forward pass takes."""
        return LaneNorm(self.mean, self.variance, *self.affine)

    def values(self, position: int) -> dict[str, Float[Tensor, " channel"]]:
        """What the lane at a position computes with once it is trained, by part."""
        parts = ("mean", "variance", "gain", "bias") if self.trained else ("mean", "variance")
        return {part: getattr(self, part)[position] for part in parts}

    def update(self, gradients: tuple[Tensor, ...], rates: Rates) -> None:
        """One step of gain and bias, without weight decay: it would pull the gain to zero."""
        parts = zip(self.affine, (self.gain_velocity, self.bias_velocity), gradients, strict=False)
        for value, velocity, gradient in parts:
            optim.nesterov_update(
                value,
                velocity,
                gradient,
                learning_rate=rates.learning_rate,
                weight_decay=torch.zeros_like(rates.learning_rate),
                momentum=rates.momentum,
            )

    def select(self, lanes: Int64[Tensor, " kept"]) -> None:
        """Keeps only the lanes at the given positions."""
        for name in _TENSORS:
            setattr(self, name, getattr(self, name)[lanes])

    def saved(self, name: str, positions: Sequence[int]) -> dict[str, Tensor]:
        """Copies of all tensors, of the lanes at the given positions, keyed `NAME.PART`."""
        return {f"{name}.{part}": getattr(self, part)[list(positions)] for part in _TENSORS}

    def restore(self, name: str, state: dict[str, Any]) -> None:
        """Takes over what `saved` gave.

        Raises:
            ConfigError: If a part is missing or has another shape.
        """
        take_over(self, name, _TENSORS, state)


_TENSORS = ("mean", "variance", "gain", "bias", "gain_velocity", "bias_velocity")
