from collections.abc import Iterable

import pytest

from sweeps.display.panel import PackView
from sweeps.display.time_left import TimeLeft

Look = tuple[float, int, dict[int, int]]
"""Seconds, ended trials, and of each pack the epochs that it has done."""


def estimates(looks: Iterable[Look], *, budget: int = 64) -> list[float | None]:
    time_left = TimeLeft()
    return [
        time_left.estimate(
            now,
            budget=budget,
            ended=ended,
            packs=[PackView(number, 8, epoch, 10, "here cpu" if epoch else "") for number, epoch in packs.items()],
        )
        for now, ended, packs in looks
    ]


def test_nothing_is_said_before_all_packs_have_reported_twice() -> None:
    starting = [(0.0, 0, {}), (20.0, 0, {0: 0, 1: 0}), (40.0, 0, {0: 1, 1: 0}), (41.0, 0, {0: 1, 1: 1})]
    assert estimates([*starting, (43.0, 0, {0: 2, 1: 1})]) == [None] * 5


def test_the_pace_is_that_since_all_packs_were_at_work() -> None:
    """Forty seconds of starting; then two packs of eight lanes do an epoch of ten in three seconds."""
    looks = [(40.0, 0, {0: 1, 1: 1}), (43.0, 0, {0: 2, 1: 2}), (67.0, 0, {0: 10, 1: 10}), (70.0, 16, {2: 1, 3: 1})]
    assert estimates(looks) == [None, *map(pytest.approx, (120 - 6, 120 - 30, 120 - 33))]


def test_a_resumed_sweep_has_its_own_pace() -> None:
    """What earlier sessions did took none of this session's time."""
    looks = [(0.0, 48, {}), (40.0, 48, {0: 5, 1: 5}), (43.0, 48, {0: 6, 1: 6})]
    assert estimates(looks)[-1] == pytest.approx(12)  # of 16 trials the last four epochs


def test_packs_of_one_epoch_have_a_pace() -> None:
    looks = [(0.0, 0, {}), (30.0, 0, {0: 0, 1: 0}), (33.0, 8, {1: 0, 2: 0}), (36.0, 16, {2: 0, 3: 0})]
    looks += [(39.0, 24, {3: 0, 4: 0})]
    assert estimates(looks) == [*[None] * 4, pytest.approx(6 * 40 / 16)]


def test_a_budget_that_was_passed_leaves_nothing() -> None:
    looks = [(0.0, 0, {0: 1}), (3.0, 0, {0: 2})]
    assert estimates(looks, budget=1) == [None, 0.0]
