"""The best network of a trial: the same from rows that come bit by bit as from a table of all of them."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.space import Constraint
from sweeps.objectives import Objectives
from sweeps.results import Table, epochs_table, trials_table
from sweeps.tracking.backlog import News
from sweeps.tracking.best_network import BestNetworks, best_of, best_of_all, metrics_of
from sweeps.tracking.experiment import Experiment
from sweeps.tracking.trajectory import EPOCH_METRICS
from tests.sweeps.memory_store import OBJECTIVES, MemoryStore
from tests.sweeps.result_rows import epoch_row, trial_row

Row = dict[str, Any]
POINTS = [(0.3, 0.9), (0.7, 0.1), (0.8, 0.2), (0.9, 0.3), (0.95, 0.5)]
"""Estimate and remaining by epoch: the second has the largest hypervolume alone."""


def rows_of(points: Sequence[tuple[float, float]], **changes: Any) -> list[Row]:
    return [
        epoch_row(0, epoch, estimate=estimate, val_accuracy=0.5, remaining=remaining, **changes)
        for epoch, (estimate, remaining) in enumerate(points, 1)
    ]


def end_of(rows: list[Row], **changes: Any) -> Row:
    last = {name: rows[-1][name] for name in (*EPOCH_METRICS, "layers")}
    return trial_row(0, epochs_done=len(rows), **last | changes)


def table_of(rows: list[Row]) -> Table:
    return epochs_table(rows).drop_columns(["layers"])


@pytest.mark.parametrize(
    ("objectives", "epoch"),
    [
        (OBJECTIVES, 2),
        (replace(OBJECTIVES, constraints=(Constraint("val_accuracy", ">=", 0.75),)), 3),
        (replace(OBJECTIVES, constraints=(Constraint("val_accuracy", ">=", 0.99),)), 2),  # none keeps it
        (Objectives({"val_accuracy": "maximize"}), 5),
        (Objectives({"remaining": "minimize"}), 2),
    ],
)
def test_the_largest_hypervolume_within_the_constraints_counts(objectives: Objectives, epoch: int) -> None:
    rows = rows_of(POINTS)
    best = best_of(rows, objectives)
    assert best
    assert best["epoch"] == epoch
    assert best_of_all(table_of(rows), trials_table([end_of(rows)]), objectives)[0] == best


def test_the_metrics_are_those_of_the_network_and_every_objective() -> None:
    best = best_of(rows_of(POINTS, val_loss=0.25), OBJECTIVES)
    named = Objectives({"val_accuracy": "maximize", "val_loss": "minimize"})
    assert metrics_of(best, named) == {
        "best_epoch": 2, "best_estimate": 0.7, "best_standard_error": 0.01, "best_remaining": 0.1,
        "best_val_loss": 0.25,
    }  # fmt: skip
    assert metrics_of(None, OBJECTIVES) == {}


def test_an_epoch_in_which_a_trial_diverged_is_no_network() -> None:
    rows = rows_of(POINTS)
    rows[1]["train_loss"] = math.nan
    found = BestNetworks(OBJECTIVES)
    news = News(0, rows, end_of(rows))
    assert found.follow(news, since=0, last=5)
    best = found.take(news)
    assert best
    assert best["epoch"] == 3


@pytest.mark.parametrize("size", [1, 3, 20])
def test_a_trial_that_was_trained_in_part_before_there_were_estimates_has_none(size: int) -> None:
    rows, found = rows_of(POINTS * 4), BestNetworks(OBJECTIVES)
    rows[1]["estimate"] = None
    is_known = False
    for since in range(0, 20, size):
        last = min(since + size, 20)
        news = News(0, rows[since:last], end_of(rows) if last == 20 else None)
        is_known = found.follow(news, since=since, last=last)
    assert is_known
    assert found.take(News(0, [], end_of(rows))) is None
    assert best_of_all(table_of(rows), trials_table([end_of(rows)]), OBJECTIVES) == {}


LEVELS = st.sampled_from([0.05, 0.2, 0.5, 0.9, 0.97])
NETWORK = st.tuples(LEVELS, st.sampled_from([0.0, 0.0005, 0.003, 0.1, 1.0]))


@given(
    points=st.lists(NETWORK, min_size=1, max_size=40),
    cuts=st.lists(st.integers(1, 39), max_size=6),
    classes=st.sampled_from([None, 2, 10, 100]),
    expected=st.sampled_from([None, 2, 10, 100]),
)
def test_bit_by_bit_it_is_the_same_or_unknown_where_the_classes_were_not_foreseen(
    points: list[tuple[float, float]], cuts: list[int], classes: int | None, expected: int | None
) -> None:
    rows, found = rows_of(points), BestNetworks(OBJECTIVES)
    end = end_of(rows, classes=classes)
    found.expect(expected)
    stops = [*sorted({cut for cut in cuts if cut < len(rows)}), len(rows)]
    since, is_known = 0, False
    for stop in stops:
        news = News(0, rows[since:stop], end if stop == len(rows) else None)
        is_known = found.follow(news, since=since, last=stop)
        since = stop
    whole = News(0, rows, end)
    if not is_known:
        assert (classes or 10) != (expected or 10)
        assert found.follow(whole, since=0, last=len(rows))
    assert found.take(whole) == best_of_all(table_of(rows), trials_table([end]), OBJECTIVES)[0]


@pytest.mark.parametrize("lost", ["rows", "memory"])
def test_with_a_gap_it_is_unknown(lost: str) -> None:
    rows, found = rows_of(POINTS), BestNetworks(OBJECTIVES)
    assert found.follow(News(0, rows[:2], None), since=0, last=2)
    if lost == "memory":
        found.forget(0)
    rest = rows[3:] if lost == "rows" else rows[2:]
    assert not found.follow(News(0, rest, end_of(rows)), since=2, last=5)


class Deaf(MemoryStore):
    """A store that must not be asked for what it was told."""

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        raise AssertionError(f"{run_id} was asked for {metric}")


def test_a_live_mirror_finds_it_without_reading_anything_again() -> None:
    points = [(0.3 + epoch / 100, 0.5 - epoch / 100) for epoch in range(30)]
    store, rows = Deaf(), rows_of(points)
    experiment = Experiment(store, "s", OBJECTIVES)
    for row in rows:
        assert experiment.add(News(0, [row], None))
    assert experiment.add(News(0, [], end_of(rows)))
    (run_id,) = store.active(0)
    assert store.all[run_id].latest["best_epoch"] == (30, 30.0)
    requests = store.requests
    assert experiment.add(News(0, [], end_of(rows)))
    assert Experiment(store, "s", OBJECTIVES).add(News(0, rows, end_of(rows)))
    assert store.requests == requests
