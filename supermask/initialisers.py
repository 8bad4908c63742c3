"""Frozen weights and initial scores, drawn from a trial's seed alone.

Every layer of every lane has generators of its own, so that a trial starts from the same numbers whatever
its pack and device. They are NumPy's PCG64, whose raw stream is promised to stay the same across
versions: a trained network is stored as a seed and a mask, and must be drawn again years later.
"""

import math
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

from supermask.config import TrainConfig
from supermask.network import MaskedLayer

TERNARY_INITS = ("signed_constant", "constant")
"""Distributions whose weights are -1 or +1 in units of their scale: one byte a weight holds them exactly."""


class _Stream(IntEnum):
    """What a generator is for; part of its seed."""

    WEIGHTS = 0
    SCORES = 1


def weight_scale(config: TrainConfig, layer: MaskedLayer) -> float:
    """c, the standard deviation of the frozen weights of a layer (arXiv 2201.13361, section 3.2).

    gain * sqrt(2 / fan_in) for He, gain * sqrt(2 / (fan_in + fan_out)) for Xavier.
    """
    return config.gain * math.sqrt(2.0 / _fan(config.weight_scale, layer))


def unit_weights(config: TrainConfig, layer: MaskedLayer, index: int) -> Tensor:
    """Draws the frozen weights of a layer in units of `weight_scale`: mean square 1.

    Args:
        config: The trial.
        layer: Gives the shape.
        index: Position of the layer in its network, part of the seed.

    Returns:
        A tensor of the layer's shape, int8 for the constant distributions, else float32.
    """
    random = _generator(config.seed, index, _Stream.WEIGHTS)
    match config.weight_init:
        case "constant":
            values = np.ones(layer.size, np.int8)
        case "signed_constant":
            bits = np.unpackbits(np.frombuffer(random.bytes(-(-layer.size // 8)), np.uint8), count=layer.size)
            values = 2 * bits.astype(np.int8) - 1
        case "normal":
            values = random.standard_normal(layer.size, np.float32)
        case _:  # uniform
            bound = math.sqrt(3.0)  # a uniform variable on [-b, b] has variance b^2 / 3
            values = ((2 * random.random(layer.size, np.float32) - 1) * bound).astype(np.float32)
    return torch.from_numpy(values).view(layer.shape)


def initial_scores(config: TrainConfig, layer: MaskedLayer, index: int) -> Tensor:
    """Draws the initial scores of a layer: uniform on +-score_gain * sqrt(6 / fan), float32, of the layer's shape."""
    random = _generator(config.seed, index, _Stream.SCORES)
    bound = config.score_gain * math.sqrt(6.0 / _fan(config.score_scale, layer))
    values = ((2 * random.random(layer.size, np.float32) - 1) * bound).astype(np.float32)
    return torch.from_numpy(values).view(layer.shape)


def _fan(scale: str, layer: MaskedLayer) -> int:
    return layer.fan_in if scale == "he" else layer.fan_in + layer.fan_out


def _generator(seed: int, index: int, stream: _Stream) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index, stream])))
