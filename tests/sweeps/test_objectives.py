"""Directions and dominance: tables by hand, and each fast version against the slow obvious one."""

import math
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.space import Constraint
from sweeps.errors import SweepError
from sweeps.objectives import Objectives, ParetoArchive, front_ranks, is_beaten, on_front, scaled

BOTH = Objectives(
    {"val_accuracy": "maximize", "remaining": "minimize"},
    [Constraint("val_accuracy", ">=", 0.5), Constraint("remaining", "<=", 0.4)],
)
POINTS = st.integers(1, 3).flatmap(lambda width: st.lists(st.tuples(*[st.integers(0, 3)] * width), max_size=20))


def row(trial: int, accuracy: float, remaining: float) -> dict[str, Any]:
    return {"trial": trial, "val_accuracy": accuracy, "remaining": remaining}


def slow_front(points: list[tuple[int, ...]]) -> list[int]:
    """Places that no other point beats: as good everywhere and better somewhere, or equal and earlier."""

    def beats(one: int, other: int) -> bool:
        as_good = all(a <= b for a, b in zip(points[one], points[other], strict=True))
        return as_good and (points[one] != points[other] or one < other)

    return [own for own in range(len(points)) if not any(beats(rival, own) for rival in range(len(points)))]


def test_costs_make_less_better() -> None:
    assert BOTH.costs(row(7, 0.9, 0.1)) == (-0.9, 0.1)
    assert BOTH.claim(row(7, 0.9, 0.1)) == (-0.9, 0.1, 7)
    columns = {"val_accuracy": np.array([0.9, 0.5]), "remaining": np.array([0.1, 0.2])}
    assert BOTH.cost_array(columns.__getitem__).tolist() == [[-0.9, 0.1], [-0.5, 0.2]]
    assert BOTH.signs.tolist() == [-1, 1]


@pytest.mark.parametrize(
    ("metric", "sign"), [("val_accuracy", 1), ("test_accuracy", -1), ("val_loss", 1), ("remaining", 1)]
)
def test_a_metric_that_is_no_objective_has_its_usual_direction(metric: str, sign: float) -> None:
    assert Objectives({"val_accuracy": "minimize"}).sign(metric) == sign


@pytest.mark.parametrize(
    ("accuracy", "remaining", "missed"),
    [(0.5, 0.4, 0), (0.9, 0.1, 0), (0.4, 0.4, 0.1), (0.4, 0.6, 0.3), (math.nan, 0.1, None)],
)
def test_what_is_missed_of_all_constraints_is_added_up(accuracy: float, remaining: float, missed: float | None) -> None:
    found = row(0, accuracy, remaining)
    assert BOTH.is_feasible(found) is (missed == 0)
    if missed is not None:
        assert BOTH.violation(found) == pytest.approx(missed)


def test_the_reference_is_the_worse_end_of_each_range() -> None:
    assert Objectives({"val_accuracy": "maximize", "remaining": "minimize"}).reference() == {
        "val_accuracy": 0,
        "remaining": 1,
    }
    assert Objectives({"inverted": "maximize", "val_loss": "minimize"}).reference() == {
        "inverted": 0,
        "val_loss": math.log(100),
    }


def test_remaining_compares_in_decades() -> None:
    assert scaled("remaining", np.array([1.0, 0.1, 0.001, 0.0])).tolist() == [0, -1, -3, -math.inf]
    assert scaled("val_accuracy", np.array([0.9])).tolist() == [0.9]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: Objectives({"val_accuracy": "max"}), ("objective val_accuracy", "'max'", "maximize or minimize")),
        (lambda: Objectives({"trial": "minimize"}).reference(), ("objective trial", "remaining", "Choose one")),
        (lambda: Objectives({}).cost_array(np.array), ("objectives", "got none", "val_accuracy")),
    ],
)
def test_what_is_no_objective_is_named_with_a_remedy(wrong: Any, said: tuple[str, ...]) -> None:
    with pytest.raises(SweepError) as raised:
        wrong()
    assert all(part in raised.value.message for part in said)


@pytest.mark.parametrize(
    ("claim", "rivals", "beaten"),
    [
        ((1, 1, 5), [], False),
        ((1, 1, 5), [(1, 1, 4)], True),
        ((1, 1, 5), [(1, 1, 6)], False),
        ((1, 1, 5), [(1, 1, 5)], False),
        ((1, 1, 5), [(0, 2, 4), (2, 0, 4)], False),
        ((1, 1, 5), [(0, 2, 4), (0, 1, 6)], True),
        ((1, 1, 5), [(1, 0, 6)], True),
    ],
)
def test_beaten_means_matched_everywhere_and_of_equals_the_lowest_number_stands(
    claim: tuple[float, ...], rivals: list[tuple[float, ...]], beaten: bool
) -> None:
    assert is_beaten(claim, rivals) is beaten


@given(POINTS)
def test_the_front_of_an_array_matches_the_slow_one(points: list[tuple[int, ...]]) -> None:
    assert np.flatnonzero(on_front(np.array(points, dtype=float))).tolist() == slow_front(points)


@given(POINTS)
def test_ranks_are_the_fronts_of_what_lies_behind_the_fronts_before(points: list[tuple[int, ...]]) -> None:
    ranks = front_ranks(np.array(points, dtype=float))
    left, rank = set(points), 0
    while left:
        beaten = {point for point in left if is_beaten((*point, 1), [(*rival, 0) for rival in left - {point}])}
        assert {points[place] for place in np.flatnonzero(ranks == rank)} == left - beaten
        left, rank = beaten, rank + 1
    assert all(b - a <= 1 for a, b in pairwise(sorted(ranks.tolist())))


@given(st.lists(st.tuples(st.integers(3, 9), st.integers(0, 5)), max_size=25), st.randoms())
def test_an_archive_holds_the_front_of_what_is_feasible_in_whatever_order_it_comes(
    points: list[tuple[int, int]], random: Random
) -> None:
    rows = [row(trial, accuracy / 10, remaining / 10) for trial, (accuracy, remaining) in enumerate(points)]
    archive, held = ParetoArchive(BOTH), set[int]()
    for one in random.sample(rows, len(rows)):
        displaced = archive.add(one)
        if displaced is not None:
            held = (held - set(displaced)) | {one["trial"]}
        assert held == set(archive.claims)
    legal = [trial for trial, (accuracy, remaining) in enumerate(points) if accuracy >= 5 and remaining <= 4]
    front = slow_front([(-points[trial][0], points[trial][1]) for trial in legal])
    assert sorted(held) == [legal[place] for place in front]


def test_an_archive_takes_nothing_that_is_not_finite() -> None:
    archive = ParetoArchive(Objectives({"val_accuracy": "maximize"}))
    assert archive.add(row(0, math.nan, 0.1)) is None
    assert archive.add(row(1, 0.5, 0.1)) == []
    assert archive.add(row(2, 0.6, math.nan)) == [1]
