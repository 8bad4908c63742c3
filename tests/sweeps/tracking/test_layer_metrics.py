"""The layers of a network in MLflow: which steps are sent, and what resume and repair make of them."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from supermask.config import TrainConfig
from sweeps.results import BEST
from sweeps.tracking import layer_metrics
from sweeps.tracking.backlog import News
from sweeps.tracking.experiment import Experiment
from sweeps.tracking.store import Run
from sweeps.tracking.trajectory import EPOCH_METRICS

Row = Mapping[str, Any]
SHALLOW, DEEP = 3, layer_metrics.MOST_LAYERS + 1
FIRST = "layers/linear1/remaining"


class Memory:
    """A store that keeps all points in order and counts the requests for a history."""

    sweep_id = "0" * 32

    def __init__(self) -> None:
        self.runs_by_id: dict[str, Run] = {}
        self.points: dict[str, list[tuple[str, int, float]]] = {}
        self.batches: list[int] = []
        self.asked: list[str] = []

    def runs(self) -> list[Run]:
        fresh = {"new_tags": {}, "new_params": {}, "new_metrics": []}
        return [dataclasses.replace(run, latest=dict(run.latest), **fresh) for run in self.runs_by_id.values()]

    def create(self, name: str, tags: Mapping[str, str], stamp: int) -> str:
        assert stamp > 0
        run_id = f"{name}-{len(self.points)}"
        self.runs_by_id[run_id], self.points[run_id] = Run(run_id, tags=dict(tags)), []
        return run_id

    def delete(self, run_id: str) -> None:
        del self.runs_by_id[run_id]

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        self.asked.append(metric)
        return sorted((step, value) for name, step, value in self.points[run_id] if name == metric)

    def send(self, run: Run, stamp: int) -> None:
        assert stamp > 0
        kept = self.runs_by_id[run.run_id]
        kept.tags |= run.new_tags
        kept.params |= run.new_params
        self.batches.append(len(run.new_metrics))
        for name, value, _, step in run.new_metrics:
            self.points[run.run_id].append((name, step, value))
            kept.latest[name] = max(kept.latest.get(name, (0, 0.0)), (step, value))
        run.new_tags, run.new_params, run.new_metrics = {}, {}, []

    def untag(self, run_id: str, tag: str) -> None:
        raise AssertionError(f"no front here, but {run_id} loses {tag}")

    def label(self, tags: Mapping[str, str]) -> None:
        raise AssertionError(f"no overview here, but {tags}")

    def keep(self, run_id: str, path: Path) -> None:
        raise AssertionError(f"no file belongs to a layer: {run_id}, {path}")

    def trial(self) -> str:
        (run_id,) = [run_id for run_id, run in self.runs_by_id.items() if run.tags["role"] == "trial"]
        return run_id

    def steps(self, metric: str = FIRST) -> list[tuple[int, float]]:
        return sorted((step, value) for name, step, value in self.points[self.trial()] if name == metric)


def layers_of(count: int, epoch: int) -> list[dict[str, Any]]:
    """As they come out of Parquet, which keeps float32."""
    single = [float(np.float32(value)) for value in (0.1 / epoch, *(1 / (n + 2 + epoch) for n in range(count)))]
    return [{"name": f"linear{n + 1}", "remaining": single[n + 1], "inverted": single[0]} for n in range(count)]


def epoch(number: int, count: int, *, attempt: int = 1, **changes: Any) -> Row:
    values = dict.fromkeys(EPOCH_METRICS, 1.0 + number) | {"layers": layers_of(count, number)}
    return {"trial": 0, "attempt": attempt, "epoch": number, **values, "stamp": 1000 + number, **changes}


def ended(count: int, *, epochs_done: int = 3, attempt: int = 1, **changes: Any) -> Row:
    values = {**TrainConfig(epochs=3).to_dict(), **epoch(epochs_done, count), "epochs_done": epochs_done}
    values |= dict.fromkeys(BEST, 0.25)
    values |= {"attempt": attempt, "state": "finished", "test_loss": 0.5, "test_accuracy": 0.5, "seconds": 1.5}
    return values | {"reason": None, **changes}


def add(store: Memory, *epochs: Row, end: Row | None = None) -> None:
    assert Experiment(store, "s").add(News(0, epochs, end))


def rebuild(store: Memory, epochs: list[Row], end: Row) -> bool:
    """Returns whether anything was to do."""
    experiment = Experiment(store, "s", is_live=False)
    experiment.rebuild(News(0, epochs, end))
    return bool(experiment.changed)


def repair(store: Memory, count: int, **changes: Any) -> bool:
    return rebuild(store, [epoch(number, count) for number in (1, 2, 3)], {**ended(count), **changes})


@pytest.mark.parametrize(
    ("count", "steps"), [(SHALLOW, [1, 2, 3]), (layer_metrics.MOST_LAYERS, [1, 2, 3]), (DEEP, [3])]
)
def test_a_shallow_network_has_every_epoch_and_a_deep_one_its_last(count: int, steps: list[int]) -> None:
    store = Memory()
    add(store, *(epoch(number, count) for number in (1, 2, 3)), end=ended(count))
    for name in (FIRST, f"layers/linear{count}/inverted"):
        assert [step for step, _ in store.steps(name)] == steps
    assert store.steps()[-1] == (3, float(np.float32(1 / 5)))
    assert len(store.batches) == 1


@pytest.mark.parametrize("count", [SHALLOW, DEEP])
def test_repair_finds_what_the_mirror_sent_complete_and_right(count: int) -> None:
    store = Memory()
    add(store, *(epoch(number, count) for number in (1, 2, 3)), end=ended(count))
    run = store.trial()
    assert not repair(store, count)
    assert store.trial() == run


@pytest.mark.parametrize("count", [SHALLOW, DEEP])
def test_repair_builds_the_layers_and_then_changes_nothing(count: int) -> None:
    store = Memory()
    assert repair(store, count)
    assert [step for step, _ in store.steps()] == ([1, 2, 3] if count == SHALLOW else [3])
    assert not repair(store, count)


def test_repair_completes_the_layers_of_a_run_cut_short() -> None:
    store = Memory()
    add(store, epoch(1, SHALLOW), epoch(2, SHALLOW))
    run = store.trial()
    assert repair(store, SHALLOW)
    assert store.trial() == run
    assert [step for step, _ in store.steps()] == [1, 2, 3]


@pytest.mark.parametrize(
    ("count", "rows"),
    [
        (SHALLOW, [epoch(1, SHALLOW, layers=layers_of(SHALLOW, 7)), epoch(2, SHALLOW), epoch(3, SHALLOW)]),
        (SHALLOW, [epoch(1, SHALLOW, layers=None), epoch(2, SHALLOW), epoch(3, SHALLOW)]),
        (DEEP, [epoch(1, SHALLOW)]),
    ],
    ids=["a wrong value", "a hole", "a step that a deep network does not send"],
)
def test_repair_replaces_a_run_whose_layers_are_wrong(count: int, rows: list[Row]) -> None:
    store = Memory()
    add(store, *rows)
    run = store.trial()
    assert repair(store, count)
    assert store.trial() != run
    assert not repair(store, count)


def test_the_layers_of_a_deep_network_cost_repair_no_request() -> None:
    store = Memory()
    repair(store, DEEP)
    store.asked.clear()
    assert not repair(store, DEEP)
    assert not [name for name in store.asked if layer_metrics.is_one(name)]
    assert not repair(store, DEEP)


def test_a_run_from_before_there_were_layers_is_left_alone() -> None:
    store = Memory()
    rows = [epoch(number, SHALLOW, layers=None) for number in (1, 2, 3)]
    add(store, *rows, end=ended(SHALLOW, layers=None))
    assert not rebuild(store, rows, ended(SHALLOW, layers=None))


@pytest.mark.parametrize(("count", "steps"), [(SHALLOW, [1, 2, 3]), (DEEP, [3])])
def test_a_replacing_run_has_the_earlier_epochs_of_the_layers(count: int, steps: list[int]) -> None:
    store = Memory()
    first = [epoch(1, count), epoch(2, count, layers=layers_of(count, 9))]
    add(store, *first)
    old = store.trial()
    rows = [*first, epoch(2, count, attempt=2), epoch(3, count, attempt=2)]
    assert rebuild(store, rows, ended(count, attempt=2))
    assert store.trial() != old
    assert store.steps() == [(step, float(np.float32(1 / (2 + step)))) for step in steps]
    assert not rebuild(store, rows, ended(count, attempt=2))
