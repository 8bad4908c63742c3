"""How often states are kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.worker.cadence import LEAST_SECONDS, Cadence

MB = 10**6


def trained(pace: Cadence, seconds: float) -> Cadence:
    pace.train(seconds)
    return pace


@pytest.mark.parametrize(
    ("size_bytes", "seconds"),
    [(2 * MB, 30), (120 * MB, 30), (400 * MB, 100)],  # 100 MB a second are expected at first
)
def test_the_first_state_is_due_when_it_is_expected_to_take_four_percent(size_bytes: int, seconds: float) -> None:
    assert not trained(Cadence(), seconds - 0.1).is_due(size_bytes)
    assert trained(Cadence(), seconds).is_due(size_bytes)


def test_later_ones_follow_from_what_the_last_one_took() -> None:
    pace = trained(Cadence(), 50)
    pace.keep(100 * MB, 4.0)
    assert not trained(pace, 99).is_due(100 * MB)
    assert trained(pace, 1).is_due(100 * MB)
    pace.begin()  # the next pack is half as large
    assert not trained(pace, 49).is_due(50 * MB)
    assert trained(pace, 1).is_due(50 * MB)


def test_an_interval_that_was_asked_for_is_kept_to() -> None:
    assert Cadence(0).is_due(10**12)
    assert not trained(Cadence(5), 4).is_due(1)
    assert trained(Cadence(5), 5).is_due(10**12)


@given(st.floats(0.001, 60), st.lists(st.floats(0.01, 100), min_size=1, max_size=200))
def test_all_states_together_take_at_most_four_percent_where_each_takes_as_long(
    cost: float, epochs: list[float]
) -> None:
    size, pace = round(cost * 100 * MB), Cadence()
    spent = training = 0.0
    for seconds in epochs:
        pace.train(seconds)
        training += seconds
        if pace.is_due(size):
            pace.keep(size, cost)
            spent += cost
    assert spent <= 0.04001 * training
    assert spent == 0 or training >= LEAST_SECONDS
