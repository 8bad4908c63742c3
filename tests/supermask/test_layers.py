import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from supermask import layers
from supermask.models import build
from supermask.network import Elu, MaskedLayer, Network, Pool

LANES = 3


def _plain(network: Network, weights: list[Tensor], images: Tensor) -> Tensor:
    """One lane, one layer after the other."""
    values, left = images, list(weights)
    for step in network.steps:
        if isinstance(step, Pool):
            values = functional.max_pool2d(values, 2)
            continue
        if isinstance(step, Elu):
            values = torch.where(values > 0, values, values.exp() - 1)
            continue
        weight = left.pop(0)
        values = functional.conv2d(values, weight, padding=1) if weight.ndim == 4 else values.flatten(1) @ weight.T
    return values


def _case(name: str, dtype: torch.dtype) -> tuple[Network, list[Tensor], list[Tensor], Tensor]:
    network = build(name, input_shape=(3, 5, 6), classes=4, width=0.04)
    random = torch.Generator().manual_seed(3)
    draws = [torch.randn(LANES, *layer.shape, generator=random, dtype=torch.float64) for layer in network.layers]
    scales = [torch.rand(LANES, generator=random, dtype=torch.float64) + 0.1 for _ in network.layers]
    images = torch.randn(7, 3, 5, 6, generator=random, dtype=torch.float64)
    wide = layers.accumulation_dtype(dtype)
    return network, [draw.to(dtype) for draw in draws], [scale.to(wide) for scale in scales], images.to(dtype)


@pytest.mark.parametrize("name", ["fcn", "conv2", "conv4"])
def test_fused_lanes_equal_plain_networks_one_by_one(name: str) -> None:
    network, weights, scales, images = _case(name, torch.float64)
    found = layers.logits(network, weights, scales, images)
    assert found.shape == (LANES, 7, 4)
    for lane in range(LANES):
        own = [weight[lane] * scale[lane] for weight, scale in zip(weights, scales, strict=True)]
        torch.testing.assert_close(found[lane], _plain(network, own, images), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["fcn", "conv2"])
def test_gradients_of_fused_lanes_equal_those_of_plain_networks(name: str) -> None:
    network, weights, scales, images = _case(name, torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 3, 2, 1])
    leaves = [weight.clone().requires_grad_() for weight in weights]
    losses = layers.losses(layers.logits(network, leaves, scales, images), labels).mean(dim=1)
    gradients = torch.autograd.grad(losses.sum(), leaves)
    for lane in range(LANES):
        own = [weight[lane].clone().requires_grad_() for weight in weights]
        scaled = [weight * scale[lane] for weight, scale in zip(own, scales, strict=True)]
        loss = functional.cross_entropy(_plain(network, scaled, images), labels)
        torch.testing.assert_close(losses[lane].detach(), loss.detach(), rtol=1e-12, atol=0)
        for fused, single in zip(gradients, torch.autograd.grad(loss, own), strict=True):
            torch.testing.assert_close(fused[lane], single, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["fcn", "conv2"])
def test_bfloat16_products_give_float32_logits_near_the_exact_ones(name: str) -> None:
    network, weights, scales, images = _case(name, torch.bfloat16)
    found = layers.logits(network, weights, scales, images)
    exact = layers.logits(network, [w.double() for w in weights], [s.double() for s in scales], images.double())
    assert found.dtype == torch.float32
    # Each of the few layers rounds its activations to 8 bits.
    torch.testing.assert_close(found.double(), exact, rtol=0.05, atol=0.02 * exact.abs().max().item())


def test_losses_by_hand() -> None:
    outputs = torch.tensor([[[0.0, 0.0], [math.log(3.0), 0.0]], [[1000.0, 0.0], [0.0, 1000.0]]], dtype=torch.float64)
    found = layers.losses(outputs, torch.tensor([0, 0]))
    expected = torch.tensor([[math.log(2), math.log(4 / 3)], [0.0, 1000.0]], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("products", "sums"),
    [(torch.float64, torch.float64), (torch.float32, torch.float32), (torch.bfloat16, torch.float32)],
)
def test_accumulation_dtype(products: torch.dtype, sums: torch.dtype) -> None:
    assert layers.accumulation_dtype(products) == sums


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("shared", [True, False])
def test_a_strided_1x1_convolution_in_float32_equals_the_exact_one(shared: bool, size: int) -> None:
    """oneDNN's own writes beside its memory for so few channels on some processors; here it is not asked for one."""
    random = torch.Generator().manual_seed(5)
    layer = MaskedLayer("projection", (4, 2, 1, 1), 2)
    weight = torch.randn(LANES, *layer.shape, generator=random, dtype=torch.float64)
    images = torch.randn(64, 2 if shared else 2 * LANES, size, size, generator=random, dtype=torch.float64)
    found, exact = [], []
    for result, dtype in ((found, torch.float32), (exact, torch.float64)):
        leaf = weight.to(dtype).requires_grad_()
        own = images.to(dtype).requires_grad_()
        out = layers._convolution(layer, own, leaf, torch.ones(LANES, dtype=dtype), shared=shared)  # pyright: ignore[reportPrivateUsage]
        result += [out, *torch.autograd.grad(out.square().sum(), [leaf, own])]
    parts = images.chunk(LANES, dim=1) if not shared else [images] * LANES
    by_hand = [functional.conv2d(part, kernel, stride=2) for part, kernel in zip(parts, weight, strict=True)]
    torch.testing.assert_close(exact[0], torch.cat(by_hand, dim=1))
    for one, other in zip(found, exact, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-3)
