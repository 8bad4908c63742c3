"""What a lane costs: arithmetic, memory traffic and memory, counted from the network's shapes."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from supermask.layers import accumulation_dtype
from supermask.network import GlobalAverage, MaskedLayer, Network, Pool, Residual, Step


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
    for index, (layer, positions) in enumerate(_placed(network.steps, [height, width])):
        passes = 2 if index == 0 else 3  # nobody asks for the gradient of the images
        products += passes * 2 * batch_size * positions * layer.size
        outputs += batch_size * positions * layer.shape[0]
    size = network.parameters
    return LaneCost(
        flops=products,
        traffic_bytes=size * (4 * wide + frozen + 2 * narrow),
        # Of every output: the product, its float copy for ELU, and what the next layer reads.
        memory_bytes=size * (2 * wide + frozen + 2 * narrow) + outputs * (wide + 2 * narrow),
    )


def _placed(steps: tuple[Step, ...], size: list[int]) -> Iterator[tuple[MaskedLayer, int]]:
    """Each masked layer with the number of positions it computes; `size` follows the height and width of the maps."""
    for step in steps:
        match step:
            case Residual():
                entered = list(size)
                yield from _placed(step.main, size)
                yield from _placed(step.shortcut, entered)
            case Pool() if step.stride > 1:
                size[:] = [side // step.stride for side in size]
            case GlobalAverage():
                size[:] = [1, 1]
            case MaskedLayer() if step.is_convolution:
                size[:] = [-(-side // step.stride) for side in size]
                yield step, size[0] * size[1]
            case MaskedLayer():
                yield step, 1
            case _:
                pass
