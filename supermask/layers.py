"""The forward pass of K lanes at once.

The first layer sees the same images in every lane, so its batch has no lane dimension and all lanes
are one large product. After it a batch is `[lane, batch, feature]` between fully connected layers
and `[batch, lane * channel, height, width]` between convolutions, which run as one grouped
convolution, on a CPU one after the other. Products are computed in the dtype of the weights, all else in float32
(float64 for float64).
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from supermask.network import Elu, GlobalAverage, MaskedLayer, Network, Norm, Pool, Residual, Step

NORM_MOMENTUM, NORM_EPSILON = 0.1, 1e-5
"""Of batch norm: weight of a batch in the running statistics, and what is added to the variance; PyTorch's defaults."""


@dataclass(frozen=True)
class LaneNorm:
    """The tensors of one batch norm, `[lane, channel]`.

    Attributes:
        mean: Running mean.
        variance: Running variance.
        gain: Trained factor, or None.
        bias: Trained summand, or None.
    """

    mean: Tensor
    variance: Tensor
    gain: Tensor | None = None
    bias: Tensor | None = None


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of scores, momentum, activations and losses for a dtype of the products."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def logits(
    network: Network,
    weights: list[Tensor],
    scales: list[Tensor],
    images: Float[Tensor, "batch channel height width"],
    *,
    norms: Sequence[LaneNorm] = (),
    training: bool = False,
) -> Float[Tensor, "lane batch class"]:
    """Runs a batch that all lanes share through the masked network.

    Args:
        network: What to run.
        weights: W * M of each masked layer in units of its scale, `[lane, *shape]`.
        scales: Scale of the frozen weights of each masked layer, `[lane]`, applied to the layer's output.
        images: Standardised images in the dtype of the weights.
        norms: One per batch norm of the network.
        training: Whether batch norms use the batch's statistics, and move the running ones towards them in place.

    Returns:
        One score per class, in the accumulation dtype.
    """
    products = iter(zip(weights, scales, strict=True))
    forward = _Forward(len(weights[0]), weights[0].dtype, products, iter(norms), training)
    return forward.through(network.steps, images)


def losses(outputs: Float[Tensor, "lane batch class"], labels: Int64[Tensor, " batch"]) -> Float[Tensor, "lane batch"]:
    """Softmax cross-entropy of every lane and image."""
    return torch.logsumexp(outputs, dim=2) - outputs.gather(2, labels.expand(len(outputs), -1)[:, :, None])[:, :, 0]


class _Forward:
    """One pass; takes the tensors of each layer as it comes to it."""

    def __init__(
        self,
        lanes: int,
        dtype: torch.dtype,
        products: Iterator[tuple[Tensor, Tensor]],
        norms: Iterator[LaneNorm],
        training: bool,
    ) -> None:
        self._lanes, self._dtype, self._products = lanes, dtype, products
        self._norms, self._training = norms, training
        self._shared = True  # no lane dimension before the first masked layer

    def through(self, steps: tuple[Step, ...], values: Tensor) -> Tensor:
        for step in steps:
            values = self._step(step, values)
        return values

    def _step(self, step: Step, values: Tensor) -> Tensor:
        match step:
            case Elu():
                return _elu(values).to(self._dtype)
            case Pool():
                return functional.max_pool2d(values, step.size, step.stride, step.padding)
            case GlobalAverage():
                return values.mean(dim=(2, 3), keepdim=True)
            case Norm():
                return _normalise(values, next(self._norms), training=self._training)
            case Residual():
                main = self.through(step.main, values)
                return main + self.through(step.shortcut, values)
            case MaskedLayer():
                return self._product(step, values)

    def _product(self, layer: MaskedLayer, values: Tensor) -> Tensor:
        (weight, scale), shared = next(self._products), self._shared
        self._shared = False
        values = values.to(self._dtype)
        if layer.is_convolution:
            return _convolution(layer, values, weight, scale, shared=shared)
        return _linear(_flat(values, self._lanes, shared), weight, scale)


def _elu(values: Tensor) -> Tensor:
    if torch.compiler.is_compiling():
        # On a CPU expm1 takes 16 times as long as exp; fused, this is one pass. Its error is that of the sum: 6e-8.
        # Compiled, clamp_max would have the gradient 0 at exactly 0, which sums of ternary weights do hit.
        below = torch.where(values > 0, 0, values)
        return torch.where(values > 0, values, torch.exp(below) - 1)
    return functional.elu(values)


def _normalise(values: Tensor, norm: LaneNorm, *, training: bool) -> Tensor:
    """Every lane and channel is a channel of one large batch norm, so lanes do not meet."""
    gain, bias = (None if part is None else part.flatten() for part in (norm.gain, norm.bias))
    running = norm.mean.view(-1), norm.variance.view(-1)
    return functional.batch_norm(values, *running, gain, bias, training, NORM_MOMENTUM, NORM_EPSILON)


def _convolution(layer: MaskedLayer, values: Tensor, weight: Tensor, scale: Tensor, *, shared: bool) -> Tensor:
    """One convolution of all lanes: of one batch that they share, or of each lane's own channels."""
    stride, lanes = layer.stride, len(weight)
    if layer.shape[-1] == 1:
        # The same sums of a quarter of the pixels: oneDNN's strided 1x1 convolution to fewer than 8 channels writes
        # beside its memory on processors with AVX2 alone (PyTorch 2.14).
        values, stride = values[:, :, ::stride, ::stride], 1
    convolve = functools.partial(functional.conv2d, stride=stride, padding=layer.padding)
    if shared or values.device.type != "cpu":
        kernel = weight.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        out = convolve(values.contiguous(memory_format=torch.channels_last), kernel, groups=1 if shared else lanes)
    else:
        # On a CPU grouped convolutions are slower, and where channels do not fill a register they multiply a group's
        # neighbours by zero: the infinities of a lane that diverges would become NaN in other lanes.
        own = (part.contiguous(memory_format=torch.channels_last) for part in values.chunk(lanes, dim=1))
        kernels = (kernel.contiguous(memory_format=torch.channels_last) for kernel in weight)
        out = torch.cat([convolve(part, kernel) for part, kernel in zip(own, kernels, strict=True)], dim=1)
    per_channel = scale.repeat_interleave(weight.shape[1])
    return out.to(accumulation_dtype(weight.dtype)) * per_channel[:, None, None]


def _flat(values: Tensor, lanes: int, shared: bool) -> Tensor:
    """Images or feature maps as `[batch, feature]` when all lanes share them, else `[lane, batch, feature]`."""
    if shared:
        return values.flatten(1)
    if values.ndim == 4:
        return values.unflatten(1, (lanes, -1)).flatten(2).transpose(0, 1)
    return values


def _linear(values: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    if values.ndim == 2:
        out = functional.linear(values, weight.flatten(0, 1)).unflatten(1, weight.shape[:2]).transpose(0, 1)
    else:
        out = torch.bmm(values, weight.mT)
    return out.to(accumulation_dtype(weight.dtype)) * scale[:, None, None]
