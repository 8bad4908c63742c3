"""What a network is made of: steps with concrete shapes, in the order in which a batch meets them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class MaskedLayer:
    """One layer of weights without biases.

    Attributes:
        name: `conv1`, `linear1`, ... counted from the input, or `stage1.block1.conv1`.
        shape: `(out, in)` of a fully connected layer, `(out, in, k, k)` of a convolution with same padding.
        stride: Of a convolution.
    """

    name: str
    shape: tuple[int, ...]
    stride: int = 1

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

    @property
    def is_convolution(self) -> bool:
        """Whether it works on feature maps."""
        return len(self.shape) == 4

    @property
    def padding(self) -> int:
        """Zeros on each side of a convolution's input: with stride 1 the output is as large as the input."""
        return (self.shape[-1] - 1) // 2


@dataclass(frozen=True)
class Elu:
    """ELU with alpha 1."""


@dataclass(frozen=True)
class Pool:
    """Max pooling.

    Attributes:
        size: Side of the window.
        stride: Step of the window; with stride 1 the output is as large as the input.
    """

    size: int = 2
    stride: int = 2

    @property
    def padding(self) -> int:
        """Cells added on each side."""
        return (self.size - 1) // 2 if self.stride == 1 else 0


@dataclass(frozen=True)
class GlobalAverage:
    """Mean over all positions of each channel."""


@dataclass(frozen=True)
class Norm:
    """Batch norm with statistics of its own for every lane.

    Attributes:
        name: `stem.norm`, `stage1.block1.norm1`, ...
        channels: Of the feature maps.
        trained: Whether it has a trained gain and bias.
    """

    name: str
    channels: int
    trained: bool = False


@dataclass(frozen=True)
class Residual:
    """The sum of what two paths make of the same feature maps.

    Attributes:
        main: The longer path.
        shortcut: The other one; nothing in it passes its input on.
    """

    main: tuple["Step", ...]
    shortcut: tuple["Step", ...] = ()


Step = MaskedLayer | Elu | Pool | GlobalAverage | Norm | Residual


def flat_steps(steps: tuple[Step, ...]) -> Iterator[Step]:
    """All steps, those inside of residuals included: first the main path, then the shortcut."""
    for step in steps:
        if isinstance(step, Residual):
            yield from flat_steps((*step.main, *step.shortcut))
        else:
            yield step


@dataclass(frozen=True)
class Network:
    """A network for one kind of image.

    Attributes:
        steps: What happens to a batch, in order.
        input_shape: `(channels, height, width)` of an image.
        classes: Number of outputs.
    """

    steps: tuple[Step, ...]
    input_shape: tuple[int, int, int]
    classes: int

    @cached_property
    def layers(self) -> tuple[MaskedLayer, ...]:
        """The masked layers, from input to output."""
        return tuple(step for step in flat_steps(self.steps) if isinstance(step, MaskedLayer))

    @cached_property
    def norms(self) -> tuple[Norm, ...]:
        """The batch norms, from input to output."""
        return tuple(step for step in flat_steps(self.steps) if isinstance(step, Norm))

    @property
    def parameters(self) -> int:
        """Number of weights in all masked layers."""
        return sum(layer.size for layer in self.layers)
