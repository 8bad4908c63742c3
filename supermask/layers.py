"""The forward pass of K lanes at once.

The first layer sees the same images in every lane, so its batch has no lane dimension and all lanes
are one large product. After it a batch is `[lane, batch, feature]` between fully connected layers
and `[batch, lane * channel, height, width]` between convolutions, which run as one grouped
convolution. Activations are computed in float32 (float64 for float64), products in the dtype of the weights.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from supermask.models import Network, Pool


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of scores, momentum, activations and losses for a dtype of the products."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def logits(
    network: Network,
    weights: list[Tensor],
    scales: list[Tensor],
    images: Float[Tensor, "batch channel height width"],
) -> Float[Tensor, "lane batch class"]:
    """Runs a batch that all lanes share through the masked network.

    Args:
        network: What to run.
        weights: W * M of each masked layer in units of its scale, `[lane, *shape]`.
        scales: Scale of the frozen weights of each masked layer, `[lane]`, applied to the layer's output.
        images: Standardised images in the dtype of the weights.

    Returns:
        One score per class, in the accumulation dtype.
    """
    lanes, dtype = len(weights[0]), weights[0].dtype
    values, shared, depth = images, True, 0
    for step in network.steps:
        if isinstance(step, Pool):
            values = functional.max_pool2d(values, 2)
            continue
        if len(step.shape) == 4:
            values = _convolution(values, weights[depth], scales[depth], groups=1 if shared else lanes)
        else:
            values = _linear(_flat(values, lanes, shared), weights[depth], scales[depth])
        depth, shared = depth + 1, False
        if depth < len(weights):
            values = functional.elu(values).to(dtype)
    return values


def losses(outputs: Float[Tensor, "lane batch class"], labels: Int64[Tensor, " batch"]) -> Float[Tensor, "lane batch"]:
    """Softmax cross-entropy of every lane and image."""
    return torch.logsumexp(outputs, dim=2) - outputs.gather(2, labels.expand(len(outputs), -1)[:, :, None])[:, :, 0]


def _convolution(values: Tensor, weight: Tensor, scale: Tensor, *, groups: int) -> Tensor:
    kernel = weight.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    out = functional.conv2d(values.contiguous(memory_format=torch.channels_last), kernel, padding=1, groups=groups)
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
