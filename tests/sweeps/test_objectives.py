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
from sweeps.objectives import Objectives, ParetoArchive, front_ranks, is_beaten, judged_by, network_name, on_front

BOTH = Objectives(
    {"val_accuracy": "maximize", "remaining": "minimize"},
    [Constraint("val_accuracy", ">=", 0.5), Constraint("remaining", "<=", 0.4)],
)
POINTS = st.integers(1, 3).flatmap(lambda width: st.lists(st.tuples(*[st.integers(0, 3)] * width), max_size=20))


def row(trial: int, accuracy: float, remaining: float, epoch: int = 1) -> dict[str, Any]:
    return {"trial": trial, "epoch": epoch, "val_accuracy": accuracy, "remaining": remaining}


def slow_front(points: list[tuple[int, ...]]) -> list[int]:
    """Places that no other point beats: as good everywhere and better somewhere, or equal and earlier."""

    def beats(one: int, other: int) -> bool:
        as_good = all(a <= b for a, b in zip(points[one], points[other], strict=True))
        return as_good and (points[one] != points[other] or one < other)

    return [own for own in range(len(points)) if not any(beats(rival, own) for rival in range(len(points)))]


def test_costs_make_less_better() -> None:
    assert BOTH.costs(row(7, 0.9, 0.1)) == (-0.9, -1)
    assert BOTH.claim(row(7, 0.9, 0.1, epoch=3)) == (-0.9, -1, 7, 3)
    columns = {"val_accuracy": np.array([0.9, 0.5]), "remaining": np.array([0.1, 0.01])}
    assert BOTH.cost_array(columns.__getitem__).tolist() == [[-0.9, -1], [-0.5, -2]]
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


def test_accuracy_is_judged_by_its_estimate_where_there_is_one() -> None:
    judged = row(0, 0.9, 0.1) | {"estimate": 0.45}
    assert BOTH.costs(judged) == (-0.45, -1)
    assert not BOTH.is_feasible(judged)
    assert BOTH.violation(judged) == pytest.approx(0.05)
    assert BOTH.costs(judged | {"estimate": None}) == (-0.9, -1)
    assert judged_by("val_accuracy", ["val_accuracy"]) == "val_accuracy"
    assert judged_by("val_loss", ["val_loss", "estimate"]) == "val_loss"


def test_remaining_counts_in_decades_unless_its_scale_is_linear() -> None:
    values = np.array([1.0, 0.1, 0.001, 0.0])
    assert BOTH.scaled("remaining", values).tolist() == [0, -1, -3, -6]
    assert [BOTH.scaled_value("remaining", value) for value in values] == [0, -1, -3, -6]
    assert BOTH.scaled("val_accuracy", values).tolist() == values.tolist()
    linear = Objectives(BOTH.directions, scales={"remaining": "linear"})
    assert linear.scaled("remaining", values).tolist() == values.tolist()
    assert linear.costs(row(7, 0.9, 0.1)) == (-0.9, 0.1)


def test_gains_go_from_the_reference_to_the_best_there_is() -> None:
    columns = {
        "val_accuracy": np.array([0.1, 0.55, 1.0, 0.05, 0.9, math.nan]),
        "remaining": np.array([0.5, 0.1, 0.0001, 0.1, 1.0, 0.1]),
    }
    gains = BOTH.gain_array(columns.__getitem__)
    assert gains == pytest.approx(np.array([[0, 0], [0.5, 1 / 3], [1, 1], [0, 0], [0, 0], [0, 0]]))
    hundred = Objectives(BOTH.directions, classes=100)
    assert hundred.ends("val_accuracy") == (0.01, 1)
    assert hundred.gain_array(columns.__getitem__)[0, 0] == pytest.approx(0.09 / 0.99)
    losses = Objectives({"inverted": "maximize", "val_loss": "minimize"})
    assert losses.ends("inverted") == (0, 1)
    assert losses.ends("val_loss") == (math.log(100), 0)


def test_a_network_is_written_with_trial_and_epoch() -> None:
    assert network_name((59, 14)) == "59@14"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: Objectives({"val_accuracy": "max"}), ("objective val_accuracy", "'max'", "maximize or minimize")),
        (lambda: Objectives({"trial": "minimize"}).ends("trial"), ("objective trial", "remaining", "Choose one")),
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
        ((1, 1, 5, 2), [], False),
        ((1, 1, 5, 2), [(1, 1, 4, 3)], True),
        ((1, 1, 5, 2), [(1, 1, 5, 1)], True),
        ((1, 1, 5, 2), [(1, 1, 6, 1)], False),
        ((1, 1, 5, 2), [(1, 1, 5, 2)], False),
        ((1, 1, 5, 2), [(1, 1, 5, 3)], False),
        ((1, 1, 5, 2), [(0, 2, 4, 1), (2, 0, 4, 1)], False),
        ((1, 1, 5, 2), [(0, 2, 4, 1), (0, 1, 6, 1)], True),
        ((1, 1, 5, 2), [(1, 0, 6, 1)], True),
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
        beaten = {point for point in left if is_beaten((*point, 1, 1), [(*rival, 0, 1) for rival in left - {point}])}
        assert {points[place] for place in np.flatnonzero(ranks == rank)} == left - beaten
        left, rank = beaten, rank + 1
    assert all(b - a <= 1 for a, b in pairwise(sorted(ranks.tolist())))


@given(st.lists(st.tuples(st.integers(3, 9), st.integers(0, 5)), max_size=25), st.randoms())
def test_an_archive_holds_the_front_of_what_is_feasible_in_whatever_order_it_comes(
    points: list[tuple[int, int]], random: Random
) -> None:
    rows = [row(trial, accuracy / 10, remaining / 10) for trial, (accuracy, remaining) in enumerate(points)]
    archive, held = ParetoArchive(BOTH), set[tuple[int, int]]()
    for one in random.sample(rows, len(rows)):
        displaced = archive.add(one)
        if displaced is not None:
            held = (held - set(displaced)) | {(one["trial"], 1)}
        assert held == set(archive.claims)
    legal = [trial for trial, (accuracy, remaining) in enumerate(points) if accuracy >= 5 and remaining <= 4]
    front = slow_front([(-points[trial][0], points[trial][1]) for trial in legal])
    assert sorted(held) == [(legal[place], 1) for place in front]
    assert ParetoArchive(BOTH, archive.claims.values()).claims == archive.claims


def test_an_archive_takes_nothing_that_is_not_finite() -> None:
    archive = ParetoArchive(Objectives({"val_accuracy": "maximize"}))
    assert archive.add(row(0, math.nan, 0.1)) is None
    assert archive.add(row(1, 0.5, 0.1)) == []
    assert archive.add(row(2, 0.6, math.nan)) == [(1, 1)]
    assert archive.add(row(2, 0.6, 0.1, epoch=2)) is None
