import re

import pytest

from supermask.config import NETWORKS, ConfigError
from supermask.models import HIDDEN, build
from supermask.network import MaskedLayer, Network, Pool

MNIST, CIFAR = (1, 28, 28), (3, 32, 32)


@pytest.mark.parametrize(
    ("name", "input_shape", "parameters"),
    [
        ("fcn", MNIST, 266_200),
        ("conv2", CIFAR, 4_300_992),
        ("conv4", CIFAR, 2_425_024),
        ("conv6", CIFAR, 2_261_184),
        ("conv8", CIFAR, 5_275_840),
    ],
)
def test_parameter_counts_are_the_paper_s(name: str, input_shape: tuple[int, int, int], parameters: int) -> None:
    assert build(name, input_shape=input_shape, classes=10).parameters == parameters


@pytest.mark.parametrize(
    ("name", "width", "classes", "parameters"),
    [
        # stem + three stages (first block: 1x1, 3x3, 1x1 projection; the others: two 3x3) + linear layer
        ("resnet20", 1.0, 10, 432 + 12_032 + 47_104 + 188_416 + 640),  # the paper's 0.25 M
        ("resnet20", 2.0, 10, 992_352),  # 1.0 M
        ("resnet20", 3.0, 10, 2_231_184),  # 2.2 M
        ("resnet56", 1.0, 100, 432 + 39_680 + 157_696 + 630_784 + 6_400),  # 0.84 M
        ("resnet110", 1.0, 100, 432 + 81_152 + 323_584 + 1_294_336 + 6_400),  # 1.7 M
    ],
)
def test_parameter_counts_of_resnets(name: str, width: float, classes: int, parameters: int) -> None:
    assert build(name, input_shape=CIFAR, classes=classes, width=width).parameters == parameters


def test_the_first_block_of_each_stage_projects_and_begins_with_1x1() -> None:
    network = build("resnet20", input_shape=CIFAR, classes=10)
    by_name = {layer.name: (layer.shape, layer.stride) for layer in network.layers}
    assert by_name["stem.conv"] == ((16, 3, 3, 3), 1)
    assert by_name["stage1.block1.conv1"] == ((16, 16, 1, 1), 1)
    assert by_name["stage1.block1.projection"] == ((16, 16, 1, 1), 1)
    assert by_name["stage2.block1.conv1"] == ((32, 16, 1, 1), 2)
    assert by_name["stage2.block1.projection"] == ((32, 16, 1, 1), 2)
    assert by_name["stage3.block3.conv1"] == ((64, 64, 3, 3), 1)
    assert "stage3.block3.projection" not in by_name
    assert len(network.norms) == 1 + 9 * 2 + 3
    assert not any(norm.trained for norm in network.norms)
    trained = build("resnet20", input_shape=CIFAR, classes=10, stem_norm="trained").norms
    assert [norm.name for norm in trained if norm.trained] == ["stem.norm"]


def test_every_network_of_the_configuration_can_be_built() -> None:
    assert tuple(HIDDEN) == NETWORKS


def _shapes(network: Network) -> dict[str, tuple[int, ...]]:
    return {layer.name: layer.shape for layer in network.layers}


def test_shapes_of_the_fcn() -> None:
    network = build("fcn", input_shape=MNIST, classes=10)
    assert _shapes(network) == {"linear1": (300, 784), "linear2": (100, 300), "linear3": (10, 100)}


def test_shapes_and_order_of_conv4() -> None:
    network = build("conv4", input_shape=CIFAR, classes=100)
    assert _shapes(network) == {
        "conv1": (64, 3, 3, 3),
        "conv2": (64, 64, 3, 3),
        "conv3": (128, 64, 3, 3),
        "conv4": (128, 128, 3, 3),
        "linear1": (256, 128 * 8 * 8),
        "linear2": (256, 256),
        "linear3": (100, 256),
    }
    assert [index for index, step in enumerate(network.steps) if step == Pool()] == [3, 8]


@pytest.mark.parametrize(
    ("width", "shapes"),
    [
        (2.0, {"linear1": (600, 784), "linear2": (200, 600), "linear3": (10, 200)}),
        (0.1, {"linear1": (30, 784), "linear2": (10, 30), "linear3": (10, 10)}),
        (0.015, {"linear1": (4, 784), "linear2": (2, 4), "linear3": (10, 2)}),  # 4.5 and 1.5 round to even
        (1e-6, {"linear1": (1, 784), "linear2": (1, 1), "linear3": (10, 1)}),  # never without a unit
    ],
)
def test_the_width_scales_hidden_layers_only(width: float, shapes: dict[str, tuple[int, ...]]) -> None:
    assert _shapes(build("fcn", input_shape=MNIST, classes=10, width=width)) == shapes


def test_the_width_scales_convolutions_and_their_successors() -> None:
    network = build("conv2", input_shape=(3, 9, 7), classes=4, width=0.5)  # pooling leaves 4x3 of 9x7
    assert _shapes(network) == {
        "conv1": (32, 3, 3, 3),
        "conv2": (32, 32, 3, 3),
        "linear1": (128, 32 * 4 * 3),
        "linear2": (128, 128),
        "linear3": (4, 128),
    }


@pytest.mark.parametrize(
    ("shape", "size", "fan_in", "fan_out"),
    [((300, 784), 235_200, 784, 300), ((128, 64, 3, 3), 73_728, 576, 1152), ((1, 1), 1, 1, 1)],
)
def test_fans(shape: tuple[int, ...], size: int, fan_in: int, fan_out: int) -> None:
    layer = MaskedLayer("layer", shape)
    assert (layer.size, layer.fan_in, layer.fan_out) == (size, fan_in, fan_out)


@pytest.mark.parametrize(
    ("name", "least", "poolings"), [("conv2", 2, 1), ("conv4", 4, 2), ("conv6", 8, 3), ("conv8", 16, 4)]
)
def test_images_too_small_for_the_poolings_are_refused(name: str, least: int, poolings: int) -> None:
    build(name, input_shape=(1, least, least), classes=2, width=0.01)
    text = (
        f"network {name}: images must be at least {least}x{least} for its {poolings} poolings, "
        f"but got 40x{least - 1}. Choose a network with fewer poolings, e.g. fcn."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(text)}$"):
        build(name, input_shape=(1, 40, least - 1), classes=2)
