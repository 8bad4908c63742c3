"""Trained networks as ordinary modules: what they give is what the pack gives."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supermask.artifact import Artifact
from supermask.config import METHODS, RESNETS, TrainConfig
from supermask.data import Dataset, standardise
from supermask.layers import LaneNorm, logits
from supermask.models import HIDDEN
from supermask.pack import Pack
from supermask.plain import plain_network
from tests.supermask.trained import CASES, METRICS, digits, trained


def pack_logits(pack: Pack, images: Tensor) -> Tensor:
    """What the pack's own forward pass gives, `[lane, batch, class]`."""
    states, norms = pack._states, pack._norms  # pyright: ignore[reportPrivateUsage]
    lanes: list[LaneNorm] = [norm.lanes() for norm in norms]
    weights, scales = [state.final() for state in states], [state.scale for state in states]
    with torch.no_grad():
        return logits(pack.network, weights, scales, standardise(images, pack.dtype), norms=lanes)


def assert_same(pack: Pack, images: Tensor, labels: Tensor) -> None:
    expected = pack_logits(pack, images)
    for lane, test in enumerate(pack.evaluate("test")):
        network = plain_network(Artifact.from_bytes(Artifact.of(pack, lane, METRICS).to_bytes(), "a file"))
        with torch.no_grad():
            found = network(images)
        largest = max(1.0, expected[lane].abs().max().item())  # a batch norm that knows no data yet lets values grow
        torch.testing.assert_close(found, expected[lane], rtol=1e-4, atol=1e-4 * largest)
        assert torch.equal(found.argmax(dim=1), expected[lane].argmax(dim=1))
        assert (found.argmax(dim=1) == labels).double().mean().item() == pytest.approx(test.accuracy, abs=1e-9)


@pytest.mark.parametrize(("method", "network"), CASES)
def test_logits_and_predictions_are_those_of_the_pack(method: str, network: str) -> None:
    assert_same(trained(method, network), digits().test_images, digits().test_labels)


@pytest.mark.parametrize("init", ["constant", "normal", "uniform"])
@pytest.mark.parametrize("method", METHODS)
def test_every_distribution_of_weights(method: str, init: str) -> None:
    common: dict[str, Any] = {"dataset": "digits", "width": 0.1, "batch_size": 256, "weight_scale": "xavier"}
    pack = Pack([TrainConfig(method=method, weight_init=init, **common)], digits(), dtype=torch.float32)
    pack.train_epoch()
    assert_same(pack, digits().test_images, digits().test_labels)


@pytest.fixture(scope="module")
def padded() -> Dataset:
    """Digits on 16x16 images: large enough for the four poolings of conv8."""
    images = torch.nn.functional.pad(digits().test_images[:100], (4, 4, 4, 4))
    labels = digits().test_labels[:100]
    return Dataset("folder:padded", images, labels, images, labels, classes=10)


@pytest.mark.parametrize("network", HIDDEN)
def test_every_network(network: str, padded: Dataset) -> None:
    common: dict[str, Any] = {"width": 0.1, "batch_size": 32, "network": network}
    if network in RESNETS:
        common["stem_norm"] = "trained"
    pack = Pack([TrainConfig(dataset=padded.name, **common)], padded, dtype=torch.float32)
    assert_same(pack, padded.test_images, padded.test_labels)


def test_the_modules_are_ordinary_and_draw_nothing() -> None:
    artifact = Artifact.of(trained("signed", "resnet20"), 0, METRICS)
    before = torch.random.get_rng_state()
    network = plain_network(artifact)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not network.training
    own = {"Standardise", "Sum"}
    for module in network.modules():
        assert type(module).__name__ in own or type(module).__module__.startswith("torch.nn.")
    names = set(network.state_dict())
    assert {"stem_conv.weight", "stem_norm.running_var", "stem_norm.bias", "linear1.weight"} < names
    assert {"stage1_block1.main.conv1.weight", "stage1_block1.shortcut.projection.weight"} < names
    assert "stage1_block2.main.norm1.running_mean" in names
    assert sum(parameter.numel() for name, parameter in network.named_parameters() if "norm" not in name) == (
        artifact.network.parameters
    )


def test_weights_are_ternary_where_the_frozen_ones_are_constant() -> None:
    artifact = Artifact.of(trained("signed", "fcn"), 1, METRICS)
    layer = plain_network(artifact).get_submodule("linear1")
    assert isinstance(layer, nn.Linear)
    assert len(layer.weight.unique()) == 3
    assert torch.equal(layer.weight == 0, artifact.masks["linear1"] == 0)
