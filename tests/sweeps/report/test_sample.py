"""Which networks a report draws."""

from typing import Any

import numpy as np
import pytest

from sweeps import pareto
from sweeps.report.sample import Drawn, draw
from sweeps.results import epochs_table

OBJECTIVES = {"val_accuracy": "maximize", "remaining": "minimize"}


def sweep(count: int) -> Any:
    """Networks at random, two of every trial; one in ten has no result."""
    generator = np.random.default_rng(1)
    accuracy, remaining = generator.uniform(0.1, 0.99, count), generator.uniform(0.01, 1, count)
    return epochs_table(
        {
            "trial": 3 * (k // 2),
            "attempt": 1,
            "epoch": 1 + k % 2,
            **({"val_accuracy": 0.0, "estimate": accuracy[k], "remaining": remaining[k]} if k % 10 < 9 else {}),
        }
        for k in range(count)
    )


def keys(networks: Any) -> set[tuple[int, int]]:
    return set(zip(networks["trial"].to_pylist(), networks["epoch"].to_pylist(), strict=True))


def chosen(networks: Any, most: int) -> tuple[Drawn, set[tuple[int, int]], set[tuple[int, int]]]:
    """What is drawn, and the front."""
    members = pareto.front(networks, OBJECTIVES)
    drawn = draw(networks, members, OBJECTIVES, most=most)
    return drawn, keys(networks.take(drawn.rows)), keys(members)


def test_all_networks_of_a_small_sweep_are_drawn() -> None:
    drawn, names, _ = chosen(sweep(100), 100)
    assert drawn.text == ""
    assert names == {(3 * (k // 2), 1 + k % 2) for k in range(100) if k % 10 < 9}


def test_the_front_is_drawn_whole_and_the_rest_is_said_to_be_a_sample() -> None:
    drawn, names, front = chosen(sweep(2000), 200)
    assert front <= names
    assert len(names) == 200
    rest = 1800 - len(front) - 100
    assert drawn.text == (
        f"Of 1,800 networks 200 are drawn: all {len(front)} of the front, the 100 next best (by non-dominated "
        f"sorting), and of the other {rest:,} every {rest / (100 - len(front)):.0f}th by trial. "
        "Tables and figures count every trial."
    )


def test_what_is_next_to_the_front_is_drawn() -> None:
    networks = sweep(2000)
    _, names, front = chosen(networks, 200)
    others = networks.filter([(row["trial"], row["epoch"]) not in front for row in networks.to_pylist()])
    assert keys(pareto.front(others, OBJECTIVES)) <= names


def test_the_sample_reaches_over_the_whole_sweep() -> None:
    _, names, _ = chosen(sweep(2000), 200)
    assert all(any(low <= trial < low + 500 for trial, _ in names) for low in range(0, 3000, 500))


@pytest.mark.parametrize("most", [10, 57, 200])
def test_never_more_than_the_most_and_the_same_each_time(most: int) -> None:
    networks = sweep(500)
    first, second = (chosen(networks, most)[0] for _ in range(2))
    assert len(first.rows) <= most
    assert first.rows.tolist() == second.rows.tolist() == sorted(set(first.rows.tolist()))
