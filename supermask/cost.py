"""What a lane costs: arithmetic, memory traffic and memory, counted from the network's shapes."""

from dataclasses import dataclass

import torch

from supermask.layers import accumulation_dtype
from supermask.models import MaskedLayer, Network, Pool


@dataclass(frozen=True)
class LaneCost:
    """Of one lane and one training step.

    Attributes:
        flops: Floating-point operations of the matrix products: forward, gradients of the weights and of the inputs.
        traffic_bytes: Fewest bytes the optimiser must move: scores and momentum read and written, gradient and frozen
            weights read, masked weights written.
        memory_bytes: Held by a lane: the tensors of its weights, and the activations kept for the backward pass.
    """

    flops: int
    traffic_bytes: int
    memory_bytes: int


def lane_cost(network: Network, *, batch_size: int, dtype: torch.dtype, ternary: bool = True) -> LaneCost:
    """Counts what one lane costs.

    Args:
        network: What it trains.
        batch_size: Images per step.
        dtype: Of the products.
        ternary: Whether the frozen weights take one byte each.
    """
    wide, narrow = accumulation_dtype(dtype).itemsize, dtype.itemsize
    frozen = 1 if ternary else wide
    _, height, width = network.input_shape
    products = outputs = 0
    for index, step in enumerate(network.steps):
        if isinstance(step, Pool):
            height, width = height // 2, width // 2
            continue
        positions = _positions(step, height, width)
        passes = 2 if index == 0 else 3  # nobody asks for the gradient of the images
        products += passes * 2 * batch_size * positions * step.size
        outputs += batch_size * positions * step.shape[0]
    size = network.parameters
    return LaneCost(
        flops=products,
        traffic_bytes=size * (4 * wide + frozen + 2 * narrow),
        # Of every output: the product, its float copy for ELU, and what the next layer reads.
        memory_bytes=size * (2 * wide + frozen + 2 * narrow) + outputs * (wide + 2 * narrow),
    )


def _positions(layer: MaskedLayer, height: int, width: int) -> int:
    return height * width if len(layer.shape) == 4 else 1
