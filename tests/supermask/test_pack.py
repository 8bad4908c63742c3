"""Lanes beside each other: a trial's result must not depend on its company, its place or its fate."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from supermask import data
from supermask.config import ConfigError, TrainConfig
from supermask.data import Dataset
from supermask.models import Network
from supermask.pack import EpochMetrics, Pack
from supermask.program import Program, default_dtype
from supermask.state import LayerState

MIXED: list[dict[str, Any]] = [
    {"seed": 1, "pruning_rate": 0.6, "learning_rate": 0.1, "weight_decay": 1e-3},
    {"seed": 2, "pruning_rate": 0.0, "learning_rate": 0.02, "momentum": 0.0, "weight_init": "normal"},
    {"seed": 3, "pruning_rate": 0.9, "learning_rate": 0.3, "decay_epochs": 1, "decay_rate": 0.5},
    {"seed": 4, "pruning_rate": 0.3, "weight_init": "uniform", "weight_scale": "xavier", "weight_gain": 2.0},
    {"seed": 1, "pruning_rate": 0.4, "weight_init": "constant", "score_scale": "he", "score_gain": 0.3},
]
SHAPES = [("fcn", 0.1, 64), ("conv2", 0.05, 20)]
EPOCHS = 4


@pytest.fixture
def dataset(network: str, digits: Dataset, patches: Dataset) -> Dataset:
    return digits if network == "fcn" else patches


def _configs(
    network: str, width: float, batch_size: int, lanes: Sequence[dict[str, Any]] = MIXED, **more: Any
) -> list[TrainConfig]:
    dataset = "digits" if network == "fcn" else "folder:patches"
    shared = {"network": network, "dataset": dataset, "width": width, "batch_size": batch_size, "epochs": EPOCHS}
    # Weights of equal size times whole pixels give equal sums, and a CPU's rounding decides which pooling takes.
    drawn = {"weight_init": "normal"} if network == "conv2" else {}
    rows: list[dict[str, Any]] = [shared | more | lane | drawn for lane in lanes]
    return [TrainConfig(**row) for row in rows]


def _trained(
    configs: Sequence[TrainConfig], dataset: Dataset, dtype: torch.dtype = torch.float64, epochs: int = EPOCHS
) -> Pack:
    pack = Pack(configs, dataset, dtype=dtype)
    for _ in range(epochs):
        pack.train_epoch()
    return pack


def _scores(pack: Pack, lane: int) -> dict[str, Tensor]:
    state, place = pack.state_dict(), pack.lanes.index(lane)
    return {name: value[place] for name, value in state.items() if isinstance(value, Tensor)}


def _assert_same_lane(pack: Pack, lane: int, other: Pack, place: int) -> None:
    """The same masks, and the same numbers up to the order of float64 sums."""
    own, theirs = pack.mask(lane), other.mask(place)
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[name], theirs[name]) for name in own)
    for name, value in _scores(pack, lane).items():
        torch.testing.assert_close(value, _scores(other, place)[name], rtol=1e-9, atol=1e-11)


def _plain(metrics: EpochMetrics) -> dict[str, Any]:
    values = {name: value for name, value in vars(metrics).items() if name not in ("lane", "seconds", "layers")}
    parts = ("remaining", "inverted")
    return values | {f"{layer.name}.{part}": getattr(layer, part) for layer in metrics.layers for part in parts}


@pytest.mark.parametrize("rule", ["threshold", "target"])
@pytest.mark.parametrize(("network", "width", "batch_size"), SHAPES)
def test_fused_lanes_equal_separate_packs(
    network: str, width: float, batch_size: int, rule: str, dataset: Dataset
) -> None:
    configs = _configs(network, width, batch_size, mask_rule=rule)
    fused = Pack(configs, dataset, dtype=torch.float64)
    single = [Pack([config], dataset, dtype=torch.float64) for config in configs]
    start = [fused.mask(lane) for lane in fused.lanes]
    for _ in range(EPOCHS):
        together = fused.train_epoch()
        for lane, pack in enumerate(single):
            (alone,) = pack.train_epoch()
            assert together[lane].lane == lane
            assert _plain(together[lane]) == pytest.approx(_plain(alone), rel=1e-9, abs=1e-12)
            _assert_same_lane(fused, lane, pack, 0)
    for lane in fused.lanes:
        found = fused.mask(lane)
        assert any(not torch.equal(found[name], mask) for name, mask in start[lane].items())  # masks have moved


@pytest.mark.parametrize(("network", "width", "batch_size"), SHAPES)
def test_the_place_in_the_pack_does_not_matter(network: str, width: float, batch_size: int, dataset: Dataset) -> None:
    configs = _configs(network, width, batch_size)
    order = [3, 0, 4, 2, 1]
    pack, permuted = (_trained(lanes, dataset) for lanes in (configs, [configs[lane] for lane in order]))
    for place, lane in enumerate(order):
        _assert_same_lane(pack, lane, permuted, place)


@pytest.mark.parametrize("rule", ["threshold", "target"])
@pytest.mark.parametrize(("network", "width", "batch_size"), SHAPES)
def test_dropped_lanes_do_not_disturb_the_others(
    network: str, width: float, batch_size: int, rule: str, dataset: Dataset
) -> None:
    configs = _configs(network, width, batch_size, mask_rule=rule)
    whole, thinned = _trained(configs, dataset), Pack(configs, dataset, dtype=torch.float64)
    thinned.train_epoch()
    thinned.drop([0, 3])
    assert thinned.lanes == [1, 2, 4]
    thinned.train_epoch()
    thinned.drop([2])
    metrics = [thinned.train_epoch() for _ in range(EPOCHS - 2)][-1]
    assert [entry.lane for entry in metrics] == thinned.lanes == [1, 4]
    for lane in thinned.lanes:
        _assert_same_lane(whole, lane, thinned, lane)


@pytest.mark.parametrize("rule", ["threshold", "target"])
def test_a_compiled_pack_carries_dropped_lanes_along_unseen(
    rule: str, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = _configs("fcn", 0.1, 64, [*MIXED[:2], {"weight_gain": 1e150}, *MIXED[3:]], mask_rule=rule)
    eager = Pack(configs, digits, dtype=torch.float64)
    carried: list[int] = []

    def uncompiled(network: Network, **_: bool) -> Program:
        """What a compiled pack does with its lanes, without the time of compiling."""
        found = Program(network, compiled=False)
        step = found.step

        def recording(states: Sequence[LayerState], *rest: Any) -> Tensor:
            carried.append(len(states[0].scores))
            return step(states, *rest)

        monkeypatch.setattr(found, "step", recording)
        return found

    monkeypatch.setattr("supermask.pack.program", uncompiled)
    carrying = Pack(configs, digits, dtype=torch.float64, compiled=True)
    for dropped, held in (([], 5), ([2], 5), ([0], 3), ([3], 2), ([1], 1)):
        for own in (eager, carrying):
            own.drop(dropped)
        carried.clear()
        for one, other in zip(eager.train_epoch(), carrying.train_epoch(), strict=True):
            assert one.lane == other.lane
            assert _plain(one) == pytest.approx(_plain(other), rel=1e-9, abs=1e-12, nan_ok=True)
        for lane in eager.lanes:
            if lane != 2:
                _assert_same_lane(eager, lane, carrying, lane)
        assert carried == [held] * carrying.steps_per_epoch  # until half of what it holds is gone
        assert [entry.lane for entry in carrying.evaluate("test")] == carrying.lanes == eager.lanes
        assert all(len(part) == len(carrying.lanes) for part in carrying.fractions())
        again = Pack(configs, digits, dtype=torch.float64)
        again.load_state_dict(carrying.state_dict())
        assert again.lanes == carrying.lanes
        with pytest.raises(ConfigError, match="a lane must be in training"):
            carrying.mask(dropped[0] if dropped else 5)


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.skipif(default_dtype(torch.device("cpu")) != torch.bfloat16, reason="this CPU has no bfloat16 products")
@pytest.mark.parametrize(("network", "width", "batch_size"), SHAPES)
def test_bfloat16_lanes_are_bitwise_those_of_a_pack_of_one(
    network: str, width: float, batch_size: int, dataset: Dataset, threads: int
) -> None:
    configs = _configs(network, width, batch_size)
    epochs, lanes = (EPOCHS, (0, 1, 4)) if threads == 1 else (1, (4,))  # two threads are slow on a busy machine
    fused = _trained(configs, dataset, torch.bfloat16, epochs)
    for lane in lanes:
        alone = _trained([configs[lane]], dataset, torch.bfloat16, epochs)
        for name, value in _scores(fused, lane).items():
            assert value.dtype == torch.float32
            assert torch.equal(value, _scores(alone, 0)[name]), name


def test_bfloat16_is_the_default_where_the_hardware_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert default_dtype(torch.device("cuda")) == torch.bfloat16  # of a cluster that this machine plans for
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for has, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda has=has, **_: has)
        assert default_dtype(torch.device("cuda")) == dtype
    for found, dtype in (
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"avx2": True}, torch.float32),
        ({}, torch.float32),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=found: found)
        assert default_dtype(cpu) == dtype


def test_bfloat16_learns_about_as_well_as_float64(digits: Dataset) -> None:
    (config,) = _configs("fcn", 0.5, 64, [{"pruning_rate": 0.5, "learning_rate": 0.1}])
    exact, coarse = (_trained([config], digits, dtype) for dtype in (torch.float64, torch.bfloat16))
    accuracies = [pack.evaluate("validation")[0].accuracy for pack in (exact, coarse)]
    assert min(accuracies) > 0.85
    assert abs(accuracies[0] - accuracies[1]) < 0.06


def test_the_same_configuration_twice_gives_the_same_numbers(digits: Dataset) -> None:
    configs = _configs("fcn", 0.1, 64, [MIXED[0], MIXED[3]])
    first, second = (Pack(configs, digits, dtype=torch.float32) for _ in range(2))
    for _ in range(2):
        own, other = first.train_epoch(), second.train_epoch()
        assert [_plain(entry) for entry in own] == [_plain(entry) for entry in other]


NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
WILD = [
    {"seed": 9, "learning_rate": 1e39},  # beyond float32: scores become infinite, then NaN
    {"seed": 9, "weight_gain": 1e25},  # activations overflow from layer to layer
    {"seed": 9, "learning_rate": 3e37, "weight_gain": 1e6},
]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_GPU)])
@pytest.mark.parametrize("wild", WILD, ids=["rate", "gain", "both"])
@pytest.mark.parametrize("rule", ["threshold", "target"])
@pytest.mark.parametrize(("network", "width", "batch_size"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_diverged_lane_is_reported_and_disturbs_nobody(  # noqa: PLR0917
    network: str,
    width: float,
    batch_size: int,
    rule: str,
    wild: dict[str, Any],
    dtype: torch.dtype,
    device: str,
    dataset: Dataset,
) -> None:
    sane = [MIXED[0], MIXED[1], MIXED[3]]
    mixed = _configs(network, width, batch_size, [sane[0], wild, *sane[1:]], mask_rule=rule)
    # In place of the wild lane stands a sane one: the tensors keep their shapes, so that equal means bitwise equal.
    calm = _configs(network, width, batch_size, [sane[0], {"seed": 9}, *sane[1:]], mask_rule=rule)
    pack, quiet = (Pack(configs, dataset, dtype=dtype, device=device) for configs in (mixed, calm))
    for epoch in (1, 2, 3):
        faults = {entry.lane: entry.fault for entry in pack.train_epoch()}
        quiet.train_epoch()
        assert [lane for lane, fault in faults.items() if fault] == [1]
        assert faults[1] == f"diverged: train_loss is nan after epoch {epoch}"
    for lane in (0, 2, 3):
        for name, value in _scores(pack, lane).items():
            assert torch.equal(value, _scores(quiet, lane)[name]), name
    pack.drop([1])
    assert all(entry.fault is None for entry in pack.train_epoch())


def test_a_lane_that_diverges_in_float64_leaves_the_others_as_without_it(digits: Dataset) -> None:
    configs = _configs("fcn", 0.1, 64, [MIXED[0], {"weight_gain": 1e150}, MIXED[1]])
    pack, without = _trained(configs, digits), _trained([configs[0], configs[2]], digits)
    assert [bool(entry.fault) for entry in pack.train_epoch()] == [False, True, False]
    without.train_epoch()
    _assert_same_lane(pack, 0, without, 0)
    _assert_same_lane(pack, 2, without, 1)


@pytest.mark.parametrize(
    ("train_loss", "val_loss", "fault"),
    [
        (0.5, 0.6, None),
        (math.nan, 0.6, "diverged: train_loss is nan after epoch 3"),
        (math.inf, math.nan, "diverged: train_loss is inf after epoch 3"),
        (0.5, math.inf, "diverged: val_loss is inf after epoch 3"),
    ],
)
def test_the_fault_of_an_epoch(train_loss: float, val_loss: float, fault: str | None) -> None:
    metrics = EpochMetrics(
        lane=0,
        epoch=3,
        train_loss=train_loss,
        val_loss=val_loss,
        val_accuracy=0.1,
        remaining=0.5,
        inverted=0.2,
        seconds=1.0,
    )
    assert metrics.fault == fault


def test_lanes_of_different_structure_are_refused(digits: Dataset) -> None:
    first = TrainConfig(dataset="digits", epochs=3)
    with pytest.raises(ConfigError) as caught:
        Pack([first, dataclasses.replace(first, seed=5), dataclasses.replace(first, epochs=4)], digits)
    assert str(caught.value) == (
        "pack: epochs must be equal for all lanes, but got 4 in lane 2 and 3 in lane 0. Train them in separate packs."
    )


def test_a_pack_of_the_wrong_data_or_of_nothing_is_refused(digits: Dataset) -> None:
    with pytest.raises(ConfigError) as caught:
        Pack([TrainConfig(dataset="mnist")], digits)
    assert str(caught.value) == (
        "pack: the dataset must be the one the configurations name, 'mnist', but got 'digits'. "
        "Pass supermask.data.load('mnist')."
    )
    with pytest.raises(ConfigError) as caught:
        Pack([], digits)
    assert str(caught.value) == ("pack: at least one configuration must be given, but got none. Pass one per lane.")


def test_images_too_small_for_the_network_are_refused(digits: Dataset) -> None:
    with pytest.raises(ConfigError, match="network conv8: images must be at least 16x16"):
        Pack([TrainConfig(dataset="digits", network="conv8")], digits)


@pytest.mark.mnist
def test_an_epoch_of_real_mnist_learns(shared_data: Path) -> None:
    mnist = data.load("mnist", shared_data)
    config = TrainConfig(pruning_rate=0.6, learning_rate=0.1, weight_decay=1e-4, epochs=1)
    pack = Pack([config], mnist)
    (metrics,) = pack.train_epoch()
    assert metrics.fault is None
    assert metrics.val_accuracy > 0.9
    # The paper's code measured 94.1 % at 37.3 % remaining after this epoch.
    assert pack.evaluate("test")[0].accuracy > 0.92
    assert metrics.remaining == pytest.approx(0.373, abs=0.02)
