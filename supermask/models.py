"""Networks as data: a list of blocks, without biases (arXiv 2201.13361, appendix)."""

from collections.abc import Iterator
from dataclasses import dataclass

from supermask.config import ConfigError, TrainConfig
from supermask.network import Elu, GlobalAverage, MaskedLayer, Network, Norm, Pool, Residual, Step


@dataclass(frozen=True)
class Conv:
    """A masked 3x3 convolution with same padding, then ELU; where asked for, with 2x2 max pooling.

    Attributes:
        channels: Output channels at width 1.
        pooled: Whether it is pooled.
    """

    channels: int
    pooled: bool = False


@dataclass(frozen=True)
class Linear:
    """A masked fully connected layer, then ELU except for the last one.

    Attributes:
        features: Outputs at width 1.
    """

    features: int


@dataclass(frozen=True)
class Stem:
    """How a ResNet begins: 3x3 convolution, batch norm, ELU, 3x3 max pooling with stride 1.

    Attributes:
        channels: Output channels at width 1.
    """

    channels: int


@dataclass(frozen=True)
class Stage:
    """Residual blocks of two convolutions of equal width, each with batch norm.

    The first convolution of the first block is 1x1 and carries the stride; its shortcut is a masked 1x1 projection
    with batch norm. All others are 3x3, with the identity as shortcut.

    Attributes:
        channels: Output channels at width 1.
        blocks: Number of blocks.
        stride: Of the first block.
    """

    channels: int
    blocks: int
    stride: int


Block = Conv | Linear | Stem | Stage | GlobalAverage

_HEAD = (Linear(256), Linear(256))


def _convolutions(*channels: int) -> tuple[Block, ...]:
    """Pairs of convolutions of equal width, the second of each pooled."""
    return tuple(block for count in channels for block in (Conv(count), Conv(count, pooled=True)))


def _resnet(blocks: int) -> tuple[Block, ...]:
    stages = (Stage(16, blocks, stride=1), Stage(32, blocks, stride=2), Stage(64, blocks, stride=2))
    return (Stem(16), *stages, GlobalAverage())


HIDDEN: dict[str, tuple[Block, ...]] = {
    "fcn": (Linear(300), Linear(100)),
    "conv2": (*_convolutions(64), *_HEAD),
    "conv4": (*_convolutions(64, 128), *_HEAD),
    "conv6": (*_convolutions(64, 128, 256), *_HEAD),
    "conv8": (*_convolutions(64, 128, 256, 512), *_HEAD),
    "resnet20": _resnet(3),
    "resnet56": _resnet(9),
    "resnet110": _resnet(18),
}
"""The blocks of each network before its output layer, which has one feature per class."""


def build(
    name: str, *, input_shape: tuple[int, int, int], classes: int, width: float = 1.0, stem_norm: str = "fixed"
) -> Network:
    """Gives a named network its concrete shapes.

    Args:
        name: A key of `HIDDEN`.
        input_shape: `(channels, height, width)` of an image.
        classes: Number of classes.
        width: Factor on every hidden width; widths are rounded to whole numbers, at least 1.
        stem_norm: `trained` gives the batch norm of a `Stem` a gain and a bias.

    Raises:
        ConfigError: If the images are too small for the network's poolings.
    """
    _, height, image_width = input_shape
    poolings = sum(isinstance(block, Conv) and block.pooled for block in HIDDEN[name])
    if min(height, image_width) < 2**poolings:
        raise ConfigError(
            f"network {name}: images must be at least {2**poolings}x{2**poolings} for its {poolings} poolings, "
            f"but got {height}x{image_width}. Choose a network with fewer poolings, e.g. fcn."
        )
    builder = _Builder(input_shape, width, trained_stem=stem_norm == "trained")
    steps = [step for block in HIDDEN[name] for step in builder.steps(block)]
    return Network((*steps, builder.linear(classes)), input_shape, classes)


def network_of(config: TrainConfig, *, input_shape: tuple[int, int, int], classes: int) -> Network:
    """The network that a trial trains; see `build`.

    Raises:
        ConfigError: If it does not fit the images.
    """
    shape = {"input_shape": input_shape, "classes": classes}
    return build(config.network, width=config.width, stem_norm=config.stem_norm, **shape)


class _Builder:
    """Knows the shape that the next block meets, and how many layers there were."""

    def __init__(self, input_shape: tuple[int, int, int], width: float, *, trained_stem: bool) -> None:
        self._channels, self._height, self._image_width = input_shape
        self._factor, self._trained_stem = width, trained_stem
        self._convs = self._linears = self._stages = 0

    def steps(self, block: Block) -> Iterator[Step]:
        match block:
            case Conv(channels, pooled):
                self._convs += 1
                yield self._convolution(f"conv{self._convs}", self._scaled(channels), kernel=3)
                if pooled:
                    # Before ELU, which rises and so keeps the largest the largest: it has a quarter of the work there.
                    yield Pool()
                    self._shrink(Pool().stride)
                yield Elu()
            case Linear(features):
                yield from (self.linear(self._scaled(features)), Elu())
            case Stem(channels):
                out = self._scaled(channels)
                yield self._convolution("stem.conv", out, kernel=3)
                yield from (Norm("stem.norm", out, self._trained_stem), Elu(), Pool(size=3, stride=1))
            case Stage():
                yield from self._stage(block)
            case GlobalAverage():
                self._height = self._image_width = 1
                yield block

    def linear(self, features: int) -> MaskedLayer:
        self._linears += 1
        inputs = self._channels * self._height * self._image_width
        self._channels, self._height, self._image_width = features, 1, 1
        return MaskedLayer(f"linear{self._linears}", (features, inputs))

    def _stage(self, stage: Stage) -> Iterator[Step]:
        self._stages += 1
        out = self._scaled(stage.channels)
        for number in range(1, stage.blocks + 1):
            name = f"stage{self._stages}.block{number}"
            first = number == 1
            stride, inputs = (stage.stride, self._channels) if first else (1, out)
            main = (
                self._convolution(f"{name}.conv1", out, kernel=1 if first else 3, stride=stride),
                Norm(f"{name}.norm1", out),
                Elu(),
                self._convolution(f"{name}.conv2", out, kernel=3),
                Norm(f"{name}.norm2", out),
            )
            projection = MaskedLayer(f"{name}.projection", (out, inputs, 1, 1), stride)
            yield Residual(main, (projection, Norm(f"{name}.norm3", out)) if first else ())
            yield Elu()

    def _convolution(self, name: str, out: int, *, kernel: int, stride: int = 1) -> MaskedLayer:
        layer = MaskedLayer(name, (out, self._channels, kernel, kernel), stride)
        self._channels = out
        self._shrink(stride, up=True)
        return layer

    def _shrink(self, stride: int, *, up: bool = False) -> None:
        # A strided convolution with same padding rounds up, a pooling drops what is left over.
        extra = stride - 1 if up else 0
        self._height, self._image_width = (self._height + extra) // stride, (self._image_width + extra) // stride

    def _scaled(self, count: int) -> int:
        return max(1, round(count * self._factor))
