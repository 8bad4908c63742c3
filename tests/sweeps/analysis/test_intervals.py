import math

import pytest
from scipy.special import stdtrit

from sweeps.analysis.intervals import Interval, student_t


def test_an_interval_worked_out_by_hand() -> None:
    # Mean 3, squares 4 + 1 + 0 + 1 + 4 = 10, std sqrt(10 / 4), t(0.975, 4) = 2.776445 in any table.
    found = student_t([1.0, 2.0, 3.0, 4.0, 5.0])
    reach = 2.776445 * math.sqrt(2.5) / math.sqrt(5)
    assert (found.mean, found.std) == (3.0, pytest.approx(math.sqrt(2.5)))
    assert (found.low, found.high) == (pytest.approx(3 - reach, abs=1e-6), pytest.approx(3 + reach, abs=1e-6))


@pytest.mark.parametrize("count", range(2, 32))
def test_the_quantiles_are_those_of_the_distribution(count: int) -> None:
    found = student_t([0.0] * (count - 1) + [1.0])
    assert found.mean is not None
    assert found.std is not None
    assert found.high is not None
    quantile = (found.high - found.mean) * math.sqrt(count) / found.std
    assert quantile == pytest.approx(stdtrit(count - 1, 0.975), rel=1e-9)


def test_two_values() -> None:
    # Mean 0.95, std |0.96 - 0.94| / sqrt(2), reach 12.7062 * std / sqrt(2) = 12.7062 * 0.01.
    found = student_t([0.94, 0.96])
    assert found.std == pytest.approx(0.01 * math.sqrt(2))
    assert found.low == pytest.approx(0.95 - 0.127062, abs=1e-6)


def test_equal_values_have_an_interval_of_no_width() -> None:
    assert student_t([0.5] * 4) == Interval(0.5, 0.0, 0.5, 0.5)


def test_one_value_has_a_mean_only_and_none_has_nothing() -> None:
    assert student_t([0.25]) == Interval(0.25, None, None, None)
    assert student_t([]) == Interval(None, None, None, None)


@pytest.mark.parametrize("count", [*range(2, 60), 200, 1001])
def test_the_intervals_are_those_of_halving(count: int) -> None:
    found = student_t([0.0] * (count - 1) + [1.0])
    assert found.std is not None
    reach = halved(count - 1) * found.std / math.sqrt(count)
    assert found.high == pytest.approx(1 / count + reach, rel=1e-9)


def halved(freedom: int) -> float:
    """The quantile for 95 %, found by halving the angle whose tangent it is."""
    low, high = 0.0, math.pi / 2
    while (angle := (low + high) / 2) not in (low, high):
        low, high = (angle, high) if within(angle, freedom) < 0.95 else (low, angle)
    return math.sqrt(freedom) * math.tan(angle)


def within(angle: float, freedom: int) -> float:
    """The chance of |t| <= sqrt(freedom) * tan(angle); Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = cosine if odd else 1.0, 0.0
    for step in range(2 + odd, freedom + 1, 2):
        total += term
        term *= cosine**2 * (step - 1) / step
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
