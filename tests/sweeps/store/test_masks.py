"""Masks are kept for the trials on the front."""

from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution

from search_spaces.space import Constraint, Parameter, SearchSpace
from sweeps import pareto
from sweeps.store.masks import MaskStore
from sweeps.store.paths import SweepPaths

SPACE = SearchSpace(
    name="s",
    fixed={},
    parameters={"learning_rate": Parameter(FloatDistribution(0.1, 1))},
    objectives={"val_accuracy": "maximize", "remaining": "minimize"},
    constraints=(Constraint("val_accuracy", ">=", 0.5),),
    trials=9,
)


def row(trial: int, accuracy: float, remaining: float) -> dict[str, Any]:
    return {"trial": trial, "val_accuracy": accuracy, "remaining": remaining}


@pytest.fixture
def paths(tmp_path: Path) -> SweepPaths:
    found = SweepPaths(tmp_path, "s")
    found.folder.mkdir()
    return found


def kept(paths: SweepPaths) -> list[int]:
    return sorted(int(path.stem) for path in paths.masks.iterdir())


def test_masks_come_and_go_with_the_front(paths: SweepPaths) -> None:
    store = MaskStore(paths, SPACE, [])
    store.offer(row(0, 0.9, 0.5), b"zero")
    store.offer(row(1, 0.8, 0.2), b"one")
    assert kept(paths) == [0, 1]
    store.offer(row(2, 0.95, 0.4), b"two")  # beats 0
    assert kept(paths) == [1, 2]
    store.offer(row(3, 0.7, 0.3), b"three")  # beaten by 1
    store.offer(row(4, 0.4, 0.0), b"four")  # breaks the constraint
    assert kept(paths) == [1, 2]
    assert (paths.masks / "2.safetensors").read_bytes() == b"two"
    assert sorted(store.rivals) == [(-0.95, 0.4, 2), (-0.8, 0.2, 1)]


def test_a_later_session_knows_the_front_of_the_earlier(paths: SweepPaths) -> None:
    MaskStore(paths, SPACE, []).offer(row(0, 0.9, 0.5), b"zero")
    store = MaskStore(paths, SPACE, [row(0, 0.9, 0.5)])
    store.offer(row(1, 0.8, 0.6), b"one")
    assert kept(paths) == [0]
    store.offer(row(2, 0.9, 0.4), b"two")
    assert kept(paths) == [2]


@given(st.lists(st.tuples(st.integers(5, 9), st.integers(0, 5)), min_size=1, max_size=25), st.randoms())
def test_what_is_kept_is_the_front_in_whatever_order_trials_end(
    tmp_path_factory: pytest.TempPathFactory, points: list[tuple[int, int]], random: Random
) -> None:
    paths = SweepPaths(tmp_path_factory.mktemp("root"), "s")
    paths.folder.mkdir()
    store = MaskStore(paths, SPACE, [])
    rows = [row(trial, accuracy / 10, remaining / 10) for trial, (accuracy, remaining) in enumerate(points)]
    for one in random.sample(rows, len(rows)):
        store.offer(one, b"mask")
    table = pa.Table.from_pylist([one | {"state": "finished"} for one in rows])
    assert kept(paths) == sorted(pareto.front(table, SPACE.objectives)["trial"].to_pylist())
