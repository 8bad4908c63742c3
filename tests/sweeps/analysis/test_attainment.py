from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.analysis.attainment import surfaces


def row(network: int, seed_index: int, remaining: float, accuracy: float, state: str = "finished") -> dict[str, Any]:
    known = {"remaining": remaining, "test_accuracy": accuracy} if state == "finished" else {}
    return {"trial": network // 2, "epoch": 1 + network % 2, "seed_index": seed_index, "state": state, **known}


def test_three_seeds_of_two_trials_by_hand() -> None:
    found = surfaces([
        row(0, 0, 0.1, 0.90), row(0, 1, 0.1, 0.92), row(0, 2, 0.2, 0.91),
        row(1, 0, 0.4, 0.95), row(1, 1, 0.3, 0.91), row(1, 2, 0.4, 0.97),
    ])  # fmt: skip
    assert found is not None
    none = -np.inf
    # seed 0:            .90   .90   .90   .95
    # seed 1:            .92   .92   .92   .92   (its second trial is beaten by its first)
    # seed 2:            -     .91   .91   .97
    assert found.remaining.tolist() == [0.1, 0.2, 0.3, 0.4]
    assert found.best.tolist() == [0.92, 0.92, 0.92, 0.97]
    assert found.median.tolist() == [0.90, 0.91, 0.91, 0.95]
    assert found.worst.tolist() == [none, 0.90, 0.90, 0.92]
    assert found.seeds == 3


@given(st.data(), st.integers(1, 7), st.integers(2, 4))
def test_surfaces_are_those_of_counting_seeds(data: st.DataObject, seeds: int, trials: int) -> None:
    fractions = st.sampled_from([0.0, 0.001, 0.1, 0.25, 0.5, 1.0])
    states = st.sampled_from(["finished", "finished", "failed"])
    rows = [
        row(trial, seed, data.draw(fractions), data.draw(fractions), data.draw(states))
        for trial in range(trials)
        for seed in range(seeds)
    ]
    found = surfaces(rows)
    if found is None:
        assert all(row["state"] == "failed" for row in rows)
        return
    for place, level in enumerate(found.remaining):
        attained = sorted(
            (max((row["test_accuracy"] for row in rows if row["seed_index"] == seed and row["state"] == "finished"
                  and row["remaining"] <= level), default=-np.inf) for seed in range(seeds)),
            reverse=True,
        )  # fmt: skip
        expected = [attained[0], attained[(seeds + 1) // 2 - 1], attained[-1]]
        assert [surface[place] for surface in (found.best, found.median, found.worst)] == expected


def test_of_an_even_number_of_seeds_half_have_attained_the_median() -> None:
    found = surfaces([row(trial, seed, 0.1, 0.9 + seed / 100) for trial in (0, 1) for seed in range(4)])
    assert found is not None
    assert found.median.tolist() == [pytest.approx(0.92)]


def test_only_seeds_of_all_trials_count_and_a_diverged_lane_attains_nothing() -> None:
    rows = [row(0, seed, 0.1, 0.9) for seed in range(3)] + [row(1, 0, 0.2, 0.99), row(1, 1, 0, 0, "failed")]
    found = surfaces(rows)
    assert found is not None
    assert found.seeds == 2
    assert found.worst.tolist() == [0.9, 0.9]
    assert found.best.tolist() == [0.9, 0.99]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [row(0, 0, 0.1, 0.9), row(0, 1, 0.1, 0.9)],
        [row(0, 0, 0.1, 0.9), row(1, 1, 0.1, 0.9)],
        [row(0, 0, 0, 0, "failed"), row(1, 0, 0, 0, "failed")],
    ],
)
def test_there_is_no_surface_of_less(rows: list[dict[str, Any]]) -> None:
    assert surfaces(rows) is None


def test_a_network_with_few_seeds_does_not_shorten_the_others() -> None:
    rows = [
        row(network, index, 0.01 * network, 0.9)
        for network, seeds in ((1, 5), (2, 5), (3, 1))
        for index in range(seeds)
    ]
    found = surfaces(rows)
    assert found is not None
    assert found.seeds == 5
    assert found.remaining.tolist() == [0.01, 0.02]
