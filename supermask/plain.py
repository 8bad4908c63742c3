"""A trained network as ordinary PyTorch modules, without lanes, scores or masks: for use, not for training."""

from collections import Counter, OrderedDict
from collections.abc import Mapping

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from supermask.artifact import Artifact
from supermask.data import standardise
from supermask.layers import NORM_EPSILON
from supermask.network import Elu, GlobalAverage, MaskedLayer, Norm, Pool, Residual, Step


class Standardise(nn.Module):
    """Gives each image mean 0 and standard deviation 1, as in training."""

    def forward(
        self, images: UInt8[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch channel height width"]:
        """See `supermask.data.standardise`."""
        return standardise(images, torch.float32)


class Sum(nn.Module):
    """The sum of what two paths make of the same feature maps.

    Attributes:
        main: The longer path.
        shortcut: The other one; an empty one passes its input on.
    """

    def __init__(self, main: nn.Sequential, shortcut: nn.Sequential) -> None:
        super().__init__()
        self.main, self.shortcut = main, shortcut

    def forward(self, values: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch out rows columns"]:
        """Runs both paths."""
        return self.main(values) + self.shortcut(values)


def plain_network(artifact: Artifact) -> nn.Sequential:
    """The trained network in float32 and eval mode.

    Takes uint8 images `[batch, channel, height, width]` and gives logits `[batch, class]`. Its weights are W * M.
    Names in its state dict are those of the layers, with `_` for `.`: `conv1.weight`,
    `stage1_block1.main.conv1.weight`, `stem_norm.running_mean`.

    Args:
        artifact: Gives network and weights.
    """
    builder = _Builder(artifact.weights(), artifact.values)
    return nn.Sequential(OrderedDict(standardise=Standardise(), **builder.modules(artifact.network.steps))).eval()


class _Builder:
    """Turns steps into modules."""

    def __init__(self, weights: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
        self._weights, self._values = weights, values

    def modules(self, steps: tuple[Step, ...], prefix: str = "") -> dict[str, nn.Module]:
        """The modules of steps in order, by names that are unique among them.

        Args:
            steps: What happens, in order.
            prefix: Start of the layers' names that is left out.
        """
        found: dict[str, nn.Module] = {}
        counts = Counter[str]()
        for step in steps:
            kind = type(step).__name__.lower()
            counts[kind] += 1
            name = f"{kind}{counts[kind]}"
            if isinstance(step, MaskedLayer | Norm):
                name = step.name.removeprefix(prefix).replace(".", "_")
            elif isinstance(step, Residual):
                name = _block(step).replace(".", "_")
            if isinstance(step, MaskedLayer) and not step.is_convolution and not counts["flatten"]:
                counts["flatten"] += 1
                found["flatten"] = nn.Flatten()
            found[name] = self._module(step)
        return found

    def _module(self, step: Step) -> nn.Module:
        match step:
            case MaskedLayer():
                return self._product(step)
            case Norm():
                return self._norm(step)
            case Elu():
                return nn.ELU()
            case Pool():
                return nn.MaxPool2d(step.size, step.stride, step.padding)
            case GlobalAverage():
                return nn.AdaptiveAvgPool2d(1)
            case Residual():
                prefix = f"{_block(step)}."
                paths = (nn.Sequential(OrderedDict(self.modules(path, prefix))) for path in (step.main, step.shortcut))
                return Sum(*paths)

    def _product(self, layer: MaskedLayer) -> nn.Module:
        out, inputs, *kernel = layer.shape
        # On the device "meta" nothing is drawn: the caller's random numbers stay what they are.
        if layer.is_convolution:
            size = (kernel[0], kernel[1])
            module = nn.Conv2d(inputs, out, size, layer.stride, layer.padding, bias=False, device="meta")
        else:
            module = nn.Linear(inputs, out, bias=False, device="meta")
        module.weight = nn.Parameter(self._weights[layer.name])
        return module

    def _norm(self, norm: Norm) -> nn.Module:
        module = nn.BatchNorm2d(norm.channels, eps=NORM_EPSILON, affine=norm.trained)
        module.running_mean = self._values[f"{norm.name}.mean"].clone()
        module.running_var = self._values[f"{norm.name}.variance"].clone()
        if norm.trained:
            module.weight = nn.Parameter(self._values[f"{norm.name}.gain"].clone())
            module.bias = nn.Parameter(self._values[f"{norm.name}.bias"].clone())
        return module


def _block(step: Residual) -> str:
    """The part of the names that all layers of a residual share, e.g. `stage1.block1`."""
    first = next(inner for inner in step.main if isinstance(inner, MaskedLayer))
    return first.name.rpartition(".")[0]
