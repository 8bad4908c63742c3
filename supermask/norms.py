"""Batch norms of the lanes: running statistics, and where trained, gain and bias."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from supermask import optim
from supermask.layers import LaneNorm
from supermask.network import Norm
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
        state = cls(norm.trained, zeros, ones, ones.clone(), *(zeros.clone() for _ in range(3)))
        state._ask_gradients()
        return state

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        """What gradients are taken for."""
        return (self.gain, self.bias) if self.trained else ()

    def lanes(self) -> LaneNorm:
        """What the forward pass takes."""
        return LaneNorm(self.mean, self.variance, *self.leaves)

    def values(self, position: int) -> dict[str, Float[Tensor, " channel"]]:
        """What the lane at a position computes with once it is trained, by part."""
        parts = ("mean", "variance", "gain", "bias") if self.trained else ("mean", "variance")
        return {part: getattr(self, part)[position] for part in parts}

    def update(self, gradients: tuple[Tensor, Tensor], learning_rate: Tensor, momentum: Tensor) -> None:
        """One step of gain and bias, without weight decay: it would pull the gain to zero."""
        rates = {"learning_rate": learning_rate, "momentum": momentum}
        still = torch.zeros_like(learning_rate)
        parts = zip((self.gain, self.bias), (self.gain_velocity, self.bias_velocity), gradients, strict=True)
        for leaf, velocity, gradient in parts:
            optim.nesterov_update(leaf.detach(), velocity, gradient, weight_decay=still, **rates)

    def select(self, lanes: Int64[Tensor, " kept"]) -> None:
        """Keeps only the lanes at the given positions."""
        for name in _TENSORS:
            setattr(self, name, getattr(self, name).detach()[lanes])
        self._ask_gradients()

    def saved(self, name: str) -> dict[str, Tensor]:
        """Copies of all tensors, keyed `NAME.PART`."""
        return {f"{name}.{part}": getattr(self, part).detach().clone() for part in _TENSORS}

    def restore(self, name: str, state: dict[str, Any]) -> None:
        """Takes over what `saved` gave.

        Raises:
            ConfigError: If a part is missing or has another shape.
        """
        with torch.no_grad():
            take_over(self, name, _TENSORS, state)

    def _ask_gradients(self) -> None:
        for leaf in self.leaves:
            leaf.requires_grad_()


_TENSORS = ("mean", "variance", "gain", "bias", "gain_velocity", "bias_velocity")
