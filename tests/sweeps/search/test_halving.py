"""Successive halving on several objectives, without Ray."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.space import Constraint, SearchSpace, Stopping
from sweeps.search.halving import Rungs, best_first, is_rung, records_of, standing_of

SPACE = SearchSpace(
    name="s",
    fixed={"epochs": 9},
    parameters={},
    objectives={"val_accuracy": "maximize", "remaining": "minimize"},
    constraints=(Constraint("val_accuracy", ">=", 0.25),),
    trials=9,
)
Metrics = dict[str, float | None]
POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("eta", "grace", "rungs"),
    [(3, 5, [5, 15, 45]), (2, 1, [1, 2, 4, 8, 16, 32, 64]), (4, 30, [30]), (2, 200, [])],
)
def test_rungs_are_grace_times_powers_of_eta(eta: int, grace: int, rungs: list[int]) -> None:
    stopping = Stopping(eta=eta, grace_epochs=grace)
    assert [epoch for epoch in range(1, 101) if is_rung(epoch, stopping)] == rungs


def at(error: float, remaining: float, before: float | None = None) -> Metrics:
    return {"val_accuracy": 1 - error, "remaining": remaining, "remaining_before": before}


def test_ranks_come_first_then_the_emptier_parts_of_a_front() -> None:
    #                0       1       2 crowded  3 crowded  4 end   5 beaten
    costs = np.array([[0, 9], [4, 4], [4.2, 3.9], [4.4, 3.8], [9, 0], [9, 9]], dtype=float)
    order = best_first(np.column_stack([np.zeros(6), costs]))
    assert set(order[:2]) == {0, 4}  # both ends of the front
    assert order[-1] == 5
    assert order.index(1) < order.index(2)  # 1 has the wider gap beside it


def test_what_misses_the_constraints_comes_last_the_nearest_first() -> None:
    #             0 sparse, far  1 kept, beaten  2 kept  3 sparse, near
    standings = np.array([[0.4, 9, 0], [0, 5, 6], [0, 4, 5], [0.1, 8, 1]], dtype=float)
    assert best_first(standings) == [2, 1, 3, 0]


def test_what_misses_the_constraints_crowds_nobody() -> None:
    #                                0 sparse end  1           2          3 accurate end
    kept = np.array([(0, *point) for point in [(-0.9, 0.02), (-0.93, 0.06), (-0.95, 0.1), (-0.96, 0.3)]])
    missing = np.array([[0.005, -0.895, 0.019], [0.8, -0.1, 0.0001]])
    alone = best_first(kept)
    assert set(alone[:2]) == {0, 3}
    assert best_first(np.concatenate([kept, missing])) == [*alone, 4, 5]


@given(POINTS)
def test_no_trial_stands_before_one_that_beats_it(points: list[tuple[int, int]]) -> None:
    order = best_first(np.array([(0, *point) for point in points], dtype=float))
    assert sorted(order) == list(range(len(points)))
    for place, later in enumerate(order):
        for earlier in order[:place]:
            a, b = points[later], points[earlier]
            assert not (a != b and a[0] <= b[0] and a[1] <= b[1])


def test_one_in_eta_goes_on_and_the_first_of_all_always_does() -> None:
    rungs = Rungs(SPACE, Stopping(eta=3, grace_epochs=5))
    assert rungs.judge(5, {0: at(0.5, 0.5)}) == []
    assert rungs.judge(5, {1: at(0.6, 0.6)}) == [1]  # one of two goes on, and 0 beats 1
    assert rungs.judge(5, {2: at(0.1, 0.1)}) == []
    # Of six, two go on: the new best, and 2, which has gone on already.
    assert rungs.judge(5, {3: at(0.05, 0.05), 4: at(0.2, 0.7), 5: at(0.2, 0.8)}) == [4, 5]
    assert rungs.judge(15, {2: at(0.9, 0.9)}) == []  # another rung has records of its own


def test_a_network_that_classifies_nothing_is_stopped_however_small() -> None:
    rungs = Rungs(SPACE, Stopping(eta=2, grace_epochs=1))
    assert rungs.judge(1, {0: at(0.9, 0.001), 1: at(0.2, 0.5), 2: at(0.24, 0.6), 3: at(0.8, 0.02)}) == [0, 3]


def test_what_will_remain_counts_not_what_remains() -> None:
    # 0 has more left than 1 but halves it every epoch: after nine it will have 0.5 / 2^6 left.
    rungs = Rungs(SPACE, Stopping(eta=2, grace_epochs=3))
    assert rungs.judge(3, {0: at(0.1, 0.5, 1.0), 1: at(0.1, 0.3, 0.31)}) == [1]
    assert standing_of(at(0.25, 0.5, 1.0), SPACE, epoch=3) == (0.0, -0.75, pytest.approx(math.log10(0.5 / 2**6)))
    for before in (None, 0.5, 0.4):  # nothing to go by, nothing lost, some won back
        assert standing_of(at(0.25, 0.5, before), SPACE, epoch=3) == (0.0, -0.75, math.log10(0.5))


def test_a_constraint_is_held_against_what_will_remain() -> None:
    space = replace(SPACE, constraints=(Constraint("remaining", "<=", 0.1),))
    assert standing_of(at(0.25, 0.4, 0.8), space, epoch=5)[0] == 0.0
    assert standing_of(at(0.25, 0.4, 0.8), space, epoch=8)[0] == pytest.approx(0.1)


def test_a_trial_that_reports_again_replaces_its_record() -> None:
    once, again = (Rungs(SPACE, Stopping(eta=2, grace_epochs=1)) for _ in range(2))
    for rungs in (once, again):
        rungs.judge(1, {0: at(0.1, 0.2), 1: at(0.2, 0.1)})
    again.judge(1, {1: at(0.2, 0.1)})
    last = {2: at(0.3, 0.3), 3: at(0.0, 0.0)}
    assert once.judge(1, last) == again.judge(1, last) == [2]


@given(st.lists(POINTS, min_size=1, max_size=6), st.integers(2, 4))
def test_a_restored_driver_judges_like_one_that_never_died(batches: list[list[tuple[int, int]]], eta: int) -> None:
    stopping = Stopping(eta=eta, grace_epochs=2)
    living, written, trial = Rungs(SPACE, stopping), [], 0
    for batch in batches[:-1]:
        reached = {trial + place: at(a / 6, b / 6, 0.6) for place, (a, b) in enumerate(batch)}
        trial += len(batch)
        living.judge(2, reached)
        written += [metrics | {"trial": number, "epoch": 2} for number, metrics in reached.items()]
        written += [{"trial": number, "epoch": 1, "val_accuracy": 0.1, "remaining": 0.6} for number in reached]
    written.append({"trial": 999, "epoch": 2, "val_accuracy": float("nan"), "remaining": 0.0})  # diverged there
    restored = Rungs(SPACE, stopping, records_of(written, SPACE, stopping))
    last = {trial + place: at(a / 6, b / 6, 0.7) for place, (a, b) in enumerate(batches[-1])}
    assert restored.judge(2, last) == living.judge(2, last)
