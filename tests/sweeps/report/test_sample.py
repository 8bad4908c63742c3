"""Which trials a report draws."""

from typing import Any

import numpy as np
import pytest

from sweeps import pareto
from sweeps.report.sample import Drawn, draw
from sweeps.results import trials_table

OBJECTIVES = {"val_accuracy": "maximize", "remaining": "minimize"}


def sweep(count: int) -> Any:
    """Trials at random; one in ten was stopped, one in ten failed."""
    generator = np.random.default_rng(1)
    states = ["finished"] * 8 + ["stopped", "failed"]
    accuracy, remaining = generator.uniform(0.1, 0.99, count), generator.uniform(0.01, 1, count)
    return trials_table(
        {
            "trial": 3 * k,
            "attempt": 1,
            "state": states[k % 10],
            **({"val_accuracy": accuracy[k], "remaining": remaining[k]} if k % 10 < 9 else {}),
        }
        for k in range(count)
    )


def chosen(trials: Any, most: int) -> tuple[Drawn, set[int], set[int]]:
    """What is drawn, as numbers of trials, and the front."""
    members = pareto.front(trials, OBJECTIVES)
    drawn = draw(trials, members, OBJECTIVES, most=most)
    numbers = trials.column("trial").to_numpy()
    return drawn, set(numbers[drawn.rows].tolist()), set(members.column("trial").to_pylist())


def test_all_trials_with_results_of_a_small_sweep_are_drawn() -> None:
    drawn, numbers, _ = chosen(sweep(100), 100)
    assert drawn.text == ""
    assert numbers == {3 * k for k in range(100) if k % 10 < 9}


def test_the_front_is_drawn_whole_and_the_rest_is_said_to_be_a_sample() -> None:
    drawn, numbers, front = chosen(sweep(2000), 200)
    assert front <= numbers
    assert len(numbers) == 200
    rest = 1800 - len(front) - 100
    assert drawn.text == (
        f"Of 1,800 trials with results 200 are drawn: all {len(front)} of the front, the 100 next best (by "
        f"non-dominated sorting), and of the other {rest:,} every {rest / (100 - len(front)):.0f}th by number. "
        "Tables and figures count every trial."
    )


def test_what_is_next_to_the_front_is_drawn() -> None:
    trials = sweep(2000)
    _, numbers, front = chosen(trials, 200)
    others = trials.filter([row["trial"] not in front for row in trials.to_pylist()])
    assert set(pareto.front(others, OBJECTIVES).column("trial").to_pylist()) <= numbers


def test_the_sample_reaches_over_the_whole_sweep_and_its_stopped_trials() -> None:
    trials = sweep(2000)
    drawn, numbers, _ = chosen(trials, 200)
    states = trials.column("state").to_numpy()[drawn.rows]
    assert 5 <= (states == "stopped").sum() <= 30
    assert all(any(low <= number < low + 1000 for number in numbers) for low in range(0, 6000, 1000))


@pytest.mark.parametrize("most", [10, 57, 200])
def test_never_more_than_the_most_and_the_same_each_time(most: int) -> None:
    trials = sweep(500)
    first, second = (chosen(trials, most)[0] for _ in range(2))
    assert len(first.rows) <= most
    assert first.rows.tolist() == second.rows.tolist() == sorted(set(first.rows.tolist()))
