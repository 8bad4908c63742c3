import hashlib
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from supermask.config import WEIGHT_INITS, TrainConfig
from supermask.initialisers import TERNARY_INITS, initial_scores, unit_weights, weight_scale
from supermask.models import MaskedLayer, build

LAYER = MaskedLayer("linear1", (300, 784))
CONV = MaskedLayer("conv2", (128, 64, 3, 3))  # fan_in 576, fan_out 1152


@pytest.mark.parametrize(
    ("scale", "gain", "layer", "square"),
    [
        ("he", 1.0, LAYER, 2 / 784),
        ("xavier", 1.0, LAYER, 2 / (784 + 300)),
        ("he", math.sqrt(0.75), LAYER, 1.5 / 784),  # ELU: variance 1.5 / fan_in
        ("he", math.sqrt(1.5), LAYER, 3 / 784),  # ELUS with half of the weights hidden: twice that
        ("he", 1.0, CONV, 2 / 576),
        ("xavier", 2.0, CONV, 8 / (576 + 1152)),
    ],
)
def test_weight_scale_by_hand(scale: str, gain: float, layer: MaskedLayer, square: float) -> None:
    assert weight_scale(TrainConfig(weight_scale=scale, weight_gain=gain), layer) ** 2 == pytest.approx(square)


@pytest.mark.parametrize("rate", [0.0, 0.5, 0.75])
def test_elus_keeps_the_variance_of_what_is_not_hidden(rate: float) -> None:
    elu = weight_scale(TrainConfig(gain_rule="elu"), LAYER) ** 2
    elus = weight_scale(TrainConfig(gain_rule="elus", pruning_rate=rate), LAYER) ** 2
    assert elus * (1 - rate) == pytest.approx(elu)


@pytest.mark.parametrize("init", WEIGHT_INITS)
@pytest.mark.parametrize("layer", [LAYER, CONV], ids=["linear", "conv"])
def test_unit_weights_have_mean_square_one_and_their_shape(init: str, layer: MaskedLayer) -> None:
    weights = unit_weights(TrainConfig(weight_init=init), layer, 0)
    assert weights.shape == layer.shape
    assert weights.dtype == (torch.int8 if init in TERNARY_INITS else torch.float32)
    # The kurtosis is 1 (constants), 1.8 (uniform) or 3 (normal): 5 standard deviations of the mean square.
    assert weights.double().square().mean().item() == pytest.approx(1, abs=5 * math.sqrt(2 / layer.size))


@pytest.mark.parametrize("init", ["signed_constant", "normal", "uniform"])
def test_unit_weights_are_symmetric(init: str) -> None:
    weights = unit_weights(TrainConfig(weight_init=init), LAYER, 0).double()
    assert weights.mean().item() == pytest.approx(0, abs=5 / math.sqrt(LAYER.size))
    assert (weights > 0).double().mean().item() == pytest.approx(0.5, abs=2.5 / math.sqrt(LAYER.size))


@pytest.mark.parametrize(("init", "values"), [("constant", {1}), ("signed_constant", {-1, 1})])
def test_constant_distributions_have_only_their_values(init: str, values: set[int]) -> None:
    assert set(unit_weights(TrainConfig(weight_init=init), LAYER, 0).unique().tolist()) == values


def test_uniform_weights_fill_their_bounds_evenly() -> None:
    weights = unit_weights(TrainConfig(weight_init="uniform"), LAYER, 0).double()
    bound = math.sqrt(3)  # times c = sqrt(2 / fan_in) this is He's sqrt(6 / fan_in)
    assert bound * 0.9999 < weights.abs().max().item() <= bound * (1 + 1e-6)
    shares = torch.histc(weights, bins=10, min=-bound, max=bound) / LAYER.size
    torch.testing.assert_close(shares, torch.full_like(shares, 0.1), rtol=0, atol=0.004)


def test_normal_weights_have_normal_tails() -> None:
    magnitudes = unit_weights(TrainConfig(weight_init="normal"), LAYER, 0).double().abs()
    for bound, share in ((1, 0.3173), (2, 0.0455), (3, 0.0027)):
        found = (magnitudes > bound).double().mean().item()
        assert found == pytest.approx(share, abs=5 * math.sqrt(share / LAYER.size))


@pytest.mark.parametrize(
    ("scale", "gain", "layer", "bound"),
    [
        ("xavier", 1.0, LAYER, math.sqrt(6 / 1084)),
        ("he", 1.0, LAYER, math.sqrt(6 / 784)),
        ("xavier", 3.0, CONV, 3 * math.sqrt(6 / 1728)),
        ("he", 0.5, CONV, 0.5 * math.sqrt(6 / 576)),
    ],
)
def test_scores_are_uniform_up_to_their_bound(scale: str, gain: float, layer: MaskedLayer, bound: float) -> None:
    scores = initial_scores(TrainConfig(score_scale=scale, score_gain=gain), layer, 0)
    assert scores.dtype == torch.float32
    assert scores.shape == layer.shape
    assert bound * 0.9999 < scores.abs().max().item() <= bound * (1 + 1e-6)
    shares = torch.histc(scores.double(), bins=10, min=-bound, max=bound) / layer.size
    torch.testing.assert_close(shares, torch.full_like(shares, 0.1), rtol=0, atol=0.008)


def test_weights_and_scores_are_drawn_apart_for_every_layer_and_seed() -> None:
    layer = MaskedLayer("linear1", (50, 40))
    drawn = {
        (seed, index, kind): (unit_weights if kind else initial_scores)(TrainConfig(seed=seed), layer, index)
        for seed in (0, 1, 2**40)
        for index in (0, 1, 2)
        for kind in (0, 1)
    }
    signs = torch.stack([torch.sign(values.double()).flatten() for values in drawn.values()])
    correlations = signs @ signs.T / layer.size - torch.eye(len(drawn), dtype=torch.float64)
    assert correlations.abs().max().item() < 5 / math.sqrt(layer.size)


def test_the_draw_depends_on_nothing_drawn_before() -> None:
    config = TrainConfig(seed=11, weight_init="normal")
    first = unit_weights(config, LAYER, 2)
    for seed in range(3):
        initial_scores(TrainConfig(seed=seed), CONV, seed)
    torch.manual_seed(99)
    assert torch.equal(unit_weights(config, LAYER, 2), first)


def test_hyperparameters_change_the_scale_of_the_draw_only() -> None:
    plain = initial_scores(TrainConfig(seed=4), LAYER, 1)
    other = TrainConfig(seed=4, score_gain=4.0, learning_rate=1.0, pruning_rate=0.9, weight_init="normal", data_seed=8)
    assert torch.equal(initial_scores(other, LAYER, 1), 4 * plain)


def _checksum(tensors: list[Tensor]) -> str:
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors)).hexdigest()[:16]


def _draw_all(config: TrainConfig) -> list[Tensor]:
    network = build("fcn", input_shape=(1, 8, 8), classes=10, width=0.2)
    draws = (unit_weights, initial_scores)
    return [draw(config, layer, index) for index, layer in enumerate(network.layers) for draw in draws]


# Stored networks are a seed and a mask: if one of these changes, every network stored before it is lost. Normal weights
# are left out: the tails of NumPy's method go through the logarithm of the C library.
GOLDEN = {"signed_constant": "34a466afb2558c6a", "constant": "b7e2e4385ac2a337", "uniform": "e313f1b9cd313df7"}


@pytest.mark.parametrize("init", GOLDEN)
def test_the_drawn_numbers_never_change(init: str) -> None:
    assert _checksum(_draw_all(TrainConfig(seed=2022, weight_init=init))) == GOLDEN[init]


def test_a_fresh_process_draws_the_same_numbers(fresh_process: Callable[[str], str]) -> None:
    code = """
import hashlib
from supermask.config import WEIGHT_INITS, TrainConfig
from supermask.initialisers import initial_scores, unit_weights
from supermask.models import build
for init in WEIGHT_INITS:
    config, total = TrainConfig(seed=2022, weight_init=init), hashlib.sha256()
    for index, layer in enumerate(build("fcn", input_shape=(1, 8, 8), classes=10, width=0.2).layers):
        total.update(unit_weights(config, layer, index).numpy().tobytes())
        total.update(initial_scores(config, layer, index).numpy().tobytes())
    print(total.hexdigest()[:16])
"""
    expected = [_checksum(_draw_all(TrainConfig(seed=2022, weight_init=init))) for init in WEIGHT_INITS]
    assert len(set(expected)) == len(WEIGHT_INITS)
    assert fresh_process(code).splitlines() == expected
