"""What a pack hands out and takes back: states, masks, evaluations, lanes."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from supermask import data, pack
from supermask.config import ConfigError, TrainConfig
from supermask.data import Dataset
from supermask.initialisers import unit_weights, weight_scale
from supermask.pack import Pack

RATES = (0.2, 0.5, 0.8)


def _build(dataset: Dataset, *, dtype: torch.dtype = torch.float32, **more: Any) -> Pack:
    shared = {"dataset": dataset.name, "width": 0.2, "batch_size": 128, "epochs": 4, **more}
    configs = [TrainConfig(**shared, seed=seed, pruning_rate=rate) for seed, rate in enumerate(RATES)]
    return Pack(configs, dataset, dtype=dtype)


def _tensors(state: dict[str, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _assert_equal_states(own: dict[str, Any], other: dict[str, Any]) -> None:
    assert (own["epoch"], own["lanes"]) == (other["epoch"], other["lanes"])
    assert _tensors(own).keys() == _tensors(other).keys()
    for name, value in _tensors(own).items():
        assert torch.equal(value, other[name]), name


@pytest.mark.parametrize("rule", ["threshold", "target"])
@pytest.mark.parametrize("dropped", [[], [0], [2, 0]], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_training_continues_bit_by_bit_from_a_file(
    rule: str, dropped: list[int], dtype: torch.dtype, digits: Dataset, tmp_path: Path
) -> None:
    first = _build(digits, dtype=dtype, mask_rule=rule)
    for _ in range(2):
        first.train_epoch()
    first.drop(dropped)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = _build(digits, dtype=dtype, mask_rule=rule)
    second.train_epoch()  # whatever it has done before is forgotten
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    _assert_equal_states(first.state_dict(), second.state_dict())
    assert first.fractions() == second.fractions()
    assert [entry.loss for entry in first.evaluate("validation")] == [
        entry.loss for entry in second.evaluate("validation")
    ]
    for _ in range(2):
        own, other = first.train_epoch(), second.train_epoch()
        assert [entry.train_loss for entry in own] == [entry.train_loss for entry in other]
        assert [entry.epoch for entry in own] == [entry.epoch for entry in other]
    _assert_equal_states(first.state_dict(), second.state_dict())


def test_a_state_is_a_copy_and_holds_no_frozen_weights(digits: Dataset) -> None:
    trained = _build(digits)
    state = trained.state_dict()
    before = {name: value.clone() for name, value in _tensors(state).items()}
    trained.train_epoch()
    for name, value in before.items():
        assert torch.equal(value, state[name])
    parts = ("scores", "velocity", "threshold")
    assert state.keys() == {"epoch", "lanes", "plateaus"} | {f"linear{k}.{part}" for k in (1, 2, 3) for part in parts}


def _misfit(dataset: Dataset, **change: Any) -> str:
    target = _build(dataset)
    state = target.state_dict() | change
    with pytest.raises(ConfigError) as caught:
        target.load_state_dict({name: value for name, value in state.items() if value is not ...})
    return str(caught.value)


REMEDY = "Load it into a pack built from the same configurations."


@pytest.mark.parametrize(
    ("epoch", "lanes"),
    [(1, [0, 3]), (1, [-1]), (1, [0, 0]), (1, [2, 0]), (1, []), (1, "012"), (1, None), ("1", [0, 1, 2]), (None, [0])],
)
def test_a_state_of_other_lanes_is_refused(epoch: Any, lanes: Any, digits: Dataset) -> None:
    assert _misfit(digits, epoch=epoch, lanes=lanes) == (
        f"pack state: must hold an epoch and lanes out of 3, but got epoch {epoch!r} and lanes {lanes!r}. {REMEDY}"
    )


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("linear1.scores", torch.zeros(3, 60, 63), "must have shape (3, 60, 64), but got (3, 60, 63)"),
        ("linear2.velocity", torch.zeros(2, 20, 60), "must have shape (3, 20, 60), but got (2, 20, 60)"),
        ("linear3.threshold", ..., "must have shape (3,), but got None"),
        ("linear3.threshold", 0.5, "must have shape (3,), but got 0.5"),
    ],
)
def test_a_state_of_other_shapes_is_refused(name: str, value: Any, text: str, digits: Dataset) -> None:
    assert _misfit(digits, **{name: value}) == f"pack state: {name} {text}. {REMEDY}"


def test_a_state_of_nothing_is_refused(digits: Dataset) -> None:
    with pytest.raises(ConfigError, match="must hold an epoch and lanes out of 3, but got epoch None and lanes None"):
        _build(digits).load_state_dict({})


def test_only_lanes_in_training_can_be_dropped_or_asked_for(digits: Dataset) -> None:
    trained = _build(digits)
    trained.drop([1])
    for lane in (1, 3, -1):
        text = f"pack: a lane must be in training, but got {lane}. In training: [0, 2]."
        with pytest.raises(ConfigError) as caught:
            trained.drop([0, lane])
        assert str(caught.value) == text
        with pytest.raises(ConfigError) as caught:
            trained.mask(lane)
        assert str(caught.value) == text
    assert trained.lanes == [0, 2]  # nothing was dropped on the way to the error


def test_a_pack_may_lose_all_its_lanes(digits: Dataset) -> None:
    trained = _build(digits)
    trained.drop([0, 1, 2])
    assert trained.lanes == []
    assert trained.train_epoch() == trained.evaluate("test") == []
    with pytest.raises(ConfigError, match=r"a lane must be in training, but got 0\. In training: none\."):
        trained.mask(0)


def test_dropping_nothing_changes_nothing(digits: Dataset) -> None:
    trained = _build(digits)
    before = trained.state_dict()
    trained.drop([])
    _assert_equal_states(before, trained.state_dict())


def _plain_evaluation(trained: Pack, lane: int, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """The whole part as one batch, through weights drawn from the seed again and the mask alone."""
    config, masks = trained.configs[lane], trained.mask(lane)
    values = data.standardise(images, torch.float64).flatten(1)
    for index, layer in enumerate(trained.network.layers):
        weights = unit_weights(config, layer, index).double() * weight_scale(config, layer)
        values = functional.linear(values, weights * masks[layer.name])
        values = functional.elu(values) if index < len(trained.network.layers) - 1 else values
    hits = (values.argmax(dim=1) == labels).double().mean().item()
    return functional.cross_entropy(values, labels).item(), hits


@pytest.mark.parametrize("batch", [1, 100, 144, 180, 1000, 1293, 5000])
def test_an_evaluation_in_batches_equals_a_plain_one(
    batch: int, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "EVALUATION_BATCH", batch)
    trained = _build(digits, dtype=torch.float64)
    trained.train_epoch()
    train, validation = data.split(digits, trained.configs[0])
    parts = {
        "train": (digits.train_images[train], digits.train_labels[train]),
        "validation": (digits.train_images[validation], digits.train_labels[validation]),
        "test": (digits.test_images, digits.test_labels),
    }
    trained.drop([1])
    for part in ("train", "validation", "test"):
        found = trained.evaluate(part)
        assert [entry.lane for entry in found] == [0, 2]
        for entry in found:
            loss, accuracy = _plain_evaluation(trained, entry.lane, *parts[part])
            assert entry.loss == pytest.approx(loss, rel=1e-9)
            assert entry.accuracy == pytest.approx(accuracy, abs=1e-12)


def test_evaluating_changes_nothing(digits: Dataset) -> None:
    trained = _build(digits)
    before = trained.state_dict()
    for part in ("train", "validation", "test"):
        trained.evaluate(part)
    _assert_equal_states(before, trained.state_dict())


def test_an_untrained_pack_hides_the_pruning_rate(digits: Dataset) -> None:
    remaining, inverted = _build(digits, width=1.0, mask_rule="target").fractions()
    assert remaining == pytest.approx([1 - rate for rate in RATES], abs=1e-3)
    assert inverted == pytest.approx([share / 2 for share in remaining], abs=0.01)
    uniform, _ = _build(digits, width=1.0).fractions()
    assert uniform == pytest.approx(remaining, abs=0.01)


def test_masks_are_small_integers_on_the_cpu_that_agree_with_the_fractions(digits: Dataset) -> None:
    trained = _build(digits)
    trained.train_epoch()
    remaining, inverted = trained.fractions()
    for lane in trained.lanes:
        masks = trained.mask(lane)
        assert {name: mask.shape for name, mask in masks.items()} == {
            layer.name: layer.shape for layer in trained.network.layers
        }
        entries = torch.cat([mask.flatten() for mask in masks.values()])
        assert entries.dtype == torch.int8
        assert set(entries.tolist()) == {-1, 0, 1}
        assert remaining[lane] == (entries != 0).double().mean().item()
        assert inverted[lane] == (entries < 0).double().mean().item()


def test_the_fractions_of_the_layers_are_those_of_their_masks_and_sum_to_the_whole_network(digits: Dataset) -> None:
    trained = _build(digits)
    trained.train_epoch()
    trained.drop([1])
    metrics = trained.train_epoch()
    assert [entry.lane for entry in metrics] == [0, 2]
    for entry in metrics:
        masks = trained.mask(entry.lane)
        assert [layer.name for layer in entry.layers] == list(masks)
        for layer in entry.layers:
            mask = masks[layer.name]
            assert layer.remaining == (mask != 0).double().mean().item()
            assert layer.inverted == (mask < 0).double().mean().item()
        sizes = [mask.numel() for mask in masks.values()]
        for name in ("remaining", "inverted"):
            counts = [getattr(layer, name) * size for layer, size in zip(entry.layers, sizes, strict=True)]
            assert [count == pytest.approx(round(count)) for count in counts] == [True] * len(counts)
            assert sum(map(round, counts)) / sum(sizes) == getattr(entry, name)


def test_steps_per_epoch_and_times(digits: Dataset) -> None:
    trained = _build(digits)
    assert trained.steps_per_epoch == 1293 // 128
    metrics = trained.train_epoch()
    assert [entry.lane for entry in metrics] == [0, 1, 2]
    assert len({entry.seconds for entry in metrics}) == 1
    assert 0 < metrics[0].seconds < math.inf
