"""The front of a session as it grows, against all networks: what is shown, and whose artifacts are kept."""

import dataclasses
import math
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution

from search_spaces.space import Constraint, Parameter, SearchSpace
from sweeps import pareto, results
from sweeps.driver.archive import NetworkArchive
from sweeps.objectives import Key, Objectives
from sweeps.results import BEST, Table
from sweeps.store.paths import SweepPaths

SPACE = SearchSpace(
    name="s",
    fixed={},
    parameters={"learning_rate": Parameter(FloatDistribution(0.1, 1))},
    objectives={"val_accuracy": "maximize", "remaining": "minimize"},
    constraints=(Constraint("val_accuracy", ">=", 0.5),),
    trials=9,
)
GRID = st.integers(0, 5).map(lambda n: n / 5)
NONE = results.epochs_table([])


def row(trial: int, epoch: int, accuracy: float, remaining: float, **more: Any) -> dict[str, Any]:
    judged = {"val_accuracy": 0.3, "estimate": accuracy, "standard_error": 0.01, "remaining": remaining}
    return {"trial": trial, "attempt": 1, "epoch": epoch, "train_loss": 1.0, "val_loss": 1.0} | judged | more


def table(*rows: dict[str, Any]) -> Table:
    return results.epochs_table(rows)


@pytest.fixture
def paths(tmp_path: Path) -> SweepPaths:
    found = SweepPaths(tmp_path, "s")
    found.folder.mkdir()
    return found


def offer(archive: NetworkArchive, *rows: dict[str, Any]) -> None:
    """Adds networks, each with an artifact that names it, and puts them on disk."""
    archive.add(table(*rows), {key_of(one): f"{key_of(one)}".encode() for one in rows})
    archive.settle()


def key_of(found: dict[str, Any]) -> Key:
    return found["trial"], found["epoch"]


def kept(paths: SweepPaths) -> list[str]:
    return sorted(path.stem for path in paths.masks.iterdir())


def test_artifacts_come_and_go_with_the_front(paths: SweepPaths) -> None:
    archive = NetworkArchive(paths, SPACE, NONE)
    offer(archive, row(0, 1, 0.9, 0.5), row(1, 1, 0.8, 0.2))
    assert kept(paths) == ["0-1", "1-1"]
    offer(archive, row(0, 2, 0.95, 0.4), row(1, 2, 0.7, 0.1))  # beats 0@1; sparser than 1@1
    assert kept(paths) == ["0-2", "1-1", "1-2"]
    offer(archive, row(2, 1, 0.6, 0.3), row(3, 1, 0.4, 0.0))  # beaten; breaks the constraint
    assert kept(paths) == ["0-2", "1-1", "1-2"]
    assert paths.mask(0, 2).read_bytes() == b"(0, 2)"
    assert archive.front == {0: (2,), 1: (1, 2)}
    assert [claim[-2:] for claim in sorted(archive.rivals)] == [(0, 2), (1, 1), (1, 2)]


def test_an_artifact_stays_until_what_beat_its_network_is_on_disk(paths: SweepPaths) -> None:
    archive = NetworkArchive(paths, SPACE, NONE)
    offer(archive, row(0, 1, 0.9, 0.5))
    archive.add(table(row(0, 2, 0.95, 0.4)), {(0, 2): b"two"})
    assert kept(paths) == ["0-1", "0-2"]
    archive.settle()
    assert kept(paths) == ["0-2"]


def test_a_network_that_is_trained_again_stays_and_its_artifact_is_written_again(paths: SweepPaths) -> None:
    archive = NetworkArchive(paths, SPACE, NONE)
    offer(archive, row(0, 1, 0.9, 0.5))
    paths.mask(0, 1).unlink()
    offer(archive, row(0, 1, 0.9, 0.5))
    assert kept(paths) == ["0-1"]


def test_a_later_session_knows_the_front_of_the_earlier_and_removes_what_is_left_over(paths: SweepPaths) -> None:
    offer(NetworkArchive(paths, SPACE, NONE), row(0, 1, 0.9, 0.5))
    paths.mask(7, 7).write_bytes(b"of a driver that died")
    archive = NetworkArchive(paths, SPACE, table(row(0, 1, 0.9, 0.5)))
    assert kept(paths) == ["0-1"]
    offer(archive, row(1, 1, 0.8, 0.6))
    assert kept(paths) == ["0-1"]
    offer(archive, row(2, 1, 0.9, 0.4))
    assert kept(paths) == ["2-1"]


@given(st.lists(st.tuples(st.integers(5, 9), st.integers(0, 5)), min_size=1, max_size=25), st.randoms())
def test_what_is_kept_is_the_front_in_whatever_order_networks_come(
    tmp_path_factory: pytest.TempPathFactory, points: list[tuple[int, int]], random: Random
) -> None:
    paths = SweepPaths(tmp_path_factory.mktemp("root"), "s")
    paths.folder.mkdir()
    archive = NetworkArchive(paths, SPACE, NONE)
    rows = [row(at // 3, 1 + at % 3, high / 10, left / 10) for at, (high, left) in enumerate(points)]
    mixed = random.sample(rows, len(rows))
    while mixed:
        count = random.randint(1, 5)
        offer(archive, *mixed[:count])
        mixed = mixed[count:]
    front = pareto.front(table(*rows), SPACE.objectives).to_pylist()
    assert kept(paths) == sorted(f"{trial}-{epoch}" for trial, epoch in map(key_of, front))


@given(st.lists(st.tuples(GRID, GRID, GRID), max_size=40), st.booleans())
def test_the_leaders_are_worth_as_much_as_all_networks(
    tmp_path_factory: pytest.TempPathFactory, points: list[tuple[float, float, float]], three: bool
) -> None:
    paths = SweepPaths(tmp_path_factory.mktemp("root"), "s")
    paths.folder.mkdir()
    objectives = SPACE.objectives | ({"val_loss": "minimize"} if three else {})
    space = SearchSpace(name="s", fixed={}, parameters=SPACE.parameters, objectives=objectives, trials=9)
    rows = [row(trial, 1, high, left, val_loss=loss) for trial, (high, left, loss) in enumerate(points)]
    archive = NetworkArchive(paths, space, table(*rows[:20]))
    archive.add(table(*rows[20:]), {})
    every, leaders = table(*rows), archive.leaders
    assert len(leaders) <= 216
    levels = (0.0, 0.2, 0.7, 1.0)
    assert pareto.best_at(leaders, levels) == pareto.best_at(every, levels)
    volumes = [pareto.hypervolume(some, Objectives.of(space)) for some in (every, leaders)]
    assert volumes[0] == pytest.approx(volumes[1])


POINTS = ((0.3, 0.9), (0.7, 0.1), (0.8, 0.2), (0.9, 0.3), (0.95, 0.5))
"""Estimate and remaining by epoch: the second has the largest hypervolume alone, the third with 75 % at least."""


@pytest.mark.parametrize(("least", "epoch"), [(0.5, 2), (0.75, 3), (0.99, 2)])
def test_the_best_network_of_a_trial_has_the_largest_hypervolume_within_the_constraints(
    paths: SweepPaths, least: float, epoch: int
) -> None:
    space = dataclasses.replace(SPACE, constraints=(Constraint("val_accuracy", ">=", least),))
    archive = NetworkArchive(paths, space, NONE)
    rows = [row(4, at, *point) for at, point in enumerate(POINTS, 1)]
    offer(archive, *rows[:1])
    offer(archive, *rows[1:4], row(5, 1, 0.6, 0.5))
    offer(archive, rows[4])
    high, left = POINTS[epoch - 1]
    assert archive.best_of(4) == {
        "best_epoch": epoch, "best_estimate": high, "best_standard_error": 0.01, "best_remaining": left,
    }  # fmt: skip
    assert archive.best_of(5)["best_epoch"] == 1
    assert archive.best_of(4) == dict.fromkeys(BEST)


def test_the_best_network_may_be_of_an_earlier_session(paths: SweepPaths) -> None:
    earlier = table(row(0, 1, 0.9, 0.1), row(1, 1, 0.9, 0.1), row(1, 2, 0.9, 0.2))
    archive = NetworkArchive(paths, SPACE, earlier, in_training=[1])
    offer(archive, row(1, 3, 0.9, 0.3))
    assert archive.best_of(1)["best_epoch"] == 1
    assert archive.best_of(0)["best_epoch"] is None  # it has its row


def test_an_epoch_in_which_a_trial_diverged_is_no_network(paths: SweepPaths) -> None:
    archive = NetworkArchive(paths, SPACE, NONE)
    offer(archive, row(0, 1, 0.9, 0.1, val_accuracy=0.9, train_loss=math.nan) | {"estimate": None})
    assert (archive.leaders.num_rows, archive.front, archive.best_of(0)["best_epoch"]) == (0, {}, None)
    offer(archive, row(1, 1, 0.9, 0.1))
    assert archive.front == {1: (1,)}


def test_a_network_without_a_finite_metric_leads_nothing(paths: SweepPaths) -> None:
    archive = NetworkArchive(paths, SPACE, NONE)
    offer(archive, row(0, 1, math.nan, 0.5))
    assert (archive.leaders.num_rows, archive.front) == (0, {})
    offer(archive, row(1, 1, 0.6, 0.5), row(2, 1, 0.7, 0.5))
    assert archive.leaders.column("trial").to_pylist() == [2]
