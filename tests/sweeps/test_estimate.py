"""Estimates: a table by hand, and what must hold of all of them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.estimate import DOUBT, WINDOW, estimate, fresh_interval

ACCURACIES = st.lists(st.integers(0, 50), min_size=1, max_size=9).map(lambda hits: [hit / 50 for hit in hits])


@pytest.mark.parametrize(
    ("recent", "images", "expected"),
    [
        ([0.9], 297, 0.9 * 297 / 300),
        ([0.1, 0.6, 0.9, 0.9], 297, 0.8 * 297 / 300),  # the last three count
        ([0.97], 6000, 0.96951524),  # of many images hardly anything is taken
        ([0.0], 97, 0.0),
    ],
)
def test_estimates_by_hand(recent: list[float], images: int, expected: float) -> None:
    found = estimate(recent, images)
    assert found.estimate == pytest.approx(expected, abs=1e-7)
    assert found.standard_error >= 0.5 / (images + DOUBT)


def test_the_standard_error_is_that_of_a_proportion() -> None:
    assert estimate([0.9], 297).standard_error == pytest.approx(math.sqrt(0.891 * 0.109 / 300))


@given(ACCURACIES, st.integers(1, 10_000))
def test_an_estimate_lies_below_the_mean_of_what_it_looks_at_and_nothing_else_matters(
    recent: list[float], images: int
) -> None:
    found, used = estimate(recent, images), recent[-WINDOW:]
    assert 0 <= found.estimate <= max(used)
    assert found == estimate(used, images)
    assert 0 < found.standard_error <= 0.5
    more = estimate(recent, 10 * images)
    assert more.standard_error <= found.standard_error + 1e-12


def test_nine_of_ten_fresh_seeds_are_expected_beside_the_estimate() -> None:
    low, high = fresh_interval(0.9, 0.01)
    assert (low, high) == pytest.approx((0.879, 0.921))
