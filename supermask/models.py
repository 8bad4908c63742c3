"""Networks as data: a list of blocks with concrete shapes, without biases (arXiv 2201.13361, appendix)."""

import math
from dataclasses import dataclass
from functools import cached_property

from supermask.config import ConfigError


@dataclass(frozen=True)
class Conv:
    """A masked 3x3 convolution with same padding, followed by ELU.

    Attributes:
        channels: Output channels at width 1.
    """

    channels: int


@dataclass(frozen=True)
class Pool:
    """2x2 max pooling."""


@dataclass(frozen=True)
class Linear:
    """A masked fully connected layer, followed by ELU except for the last one.

    Attributes:
        features: Outputs at width 1.
    """

    features: int


Block = Conv | Pool | Linear

_HEAD = (Linear(256), Linear(256))


def _convolutions(*channels: int) -> tuple[Block, ...]:
    """Pairs of convolutions of equal width, each pair followed by pooling."""
    return tuple(block for count in channels for block in (Conv(count), Conv(count), Pool()))


HIDDEN: dict[str, tuple[Block, ...]] = {
    "fcn": (Linear(300), Linear(100)),
    "conv2": (*_convolutions(64), *_HEAD),
    "conv4": (*_convolutions(64, 128), *_HEAD),
    "conv6": (*_convolutions(64, 128, 256), *_HEAD),
    "conv8": (*_convolutions(64, 128, 256, 512), *_HEAD),
}
"""The blocks of each network before its output layer, which has one feature per class."""


@dataclass(frozen=True)
class MaskedLayer:
    """One layer of frozen weights.

    Attributes:
        name: `conv1`, `linear1`, ... counted from the input.
        shape: `(out, in)` of a fully connected layer, `(out, in, 3, 3)` of a convolution.
    """

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def fan_in(self) -> int:
        """Inputs of one output: kernel area times input channels."""
        return math.prod(self.shape[1:])

    @property
    def fan_out(self) -> int:
        """Outputs one input reaches: kernel area times output channels."""
        return self.shape[0] * math.prod(self.shape[2:])


@dataclass(frozen=True)
class Network:
    """A network for one kind of image.

    Attributes:
        steps: What happens to a batch, in order: masked layers and pooling.
        input_shape: `(channels, height, width)` of an image.
        classes: Number of outputs.
    """

    steps: tuple[MaskedLayer | Pool, ...]
    input_shape: tuple[int, int, int]
    classes: int

    @cached_property
    def layers(self) -> tuple[MaskedLayer, ...]:
        """The masked layers, from input to output."""
        return tuple(step for step in self.steps if isinstance(step, MaskedLayer))

    @property
    def parameters(self) -> int:
        """Number of frozen weights in all layers."""
        return sum(layer.size for layer in self.layers)


def build(name: str, *, input_shape: tuple[int, int, int], classes: int, width: float = 1.0) -> Network:
    """Gives a named network its concrete shapes.

    Args:
        name: A key of `HIDDEN`.
        input_shape: `(channels, height, width)` of an image.
        classes: Number of classes.
        width: Factor on every hidden width; widths are rounded to whole numbers, at least 1.

    Raises:
        ConfigError: If the images are too small for the network's poolings.
    """
    channels, height, image_width = input_shape
    poolings = sum(isinstance(block, Pool) for block in HIDDEN[name])
    if min(height, image_width) < 2**poolings:
        raise ConfigError(
            f"network {name}: images must be at least {2**poolings}x{2**poolings} for its {poolings} poolings, "
            f"but got {height}x{image_width}. Choose a network with fewer poolings, e.g. fcn."
        )
    steps: list[MaskedLayer | Pool] = []
    convs = linears = 0
    flat = False
    for block in (*HIDDEN[name], Linear(classes)):
        is_output = len(steps) == len(HIDDEN[name])
        match block:
            case Pool():
                height, image_width = height // 2, image_width // 2
                steps.append(block)
            case Conv(count):
                convs += 1
                out = _scaled(count, width)
                steps.append(MaskedLayer(f"conv{convs}", (out, channels, 3, 3)))
                channels = out
            case Linear(count):
                linears += 1
                features = channels if flat else channels * height * image_width
                out = count if is_output else _scaled(count, width)
                steps.append(MaskedLayer(f"linear{linears}", (out, features)))
                channels, flat = out, True
    return Network(tuple(steps), input_shape, classes)


def _scaled(count: int, width: float) -> int:
    return max(1, round(count * width))
