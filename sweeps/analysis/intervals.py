"""Mean, standard deviation and 95 % Student t interval of a few measured values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

LEVEL = 0.95
"""Confidence of the intervals."""
_MANY = 1000


@dataclass(frozen=True)
class Interval:
    """What a sample says of its mean.

    Attributes:
        mean: Arithmetic mean; None of no values.
        std: Standard deviation of the sample, with n - 1 in the denominator; None of fewer than two values.
        low: Lower end of the 95 % Student t interval of the mean; None of fewer than two values.
        high: Upper end.
    """

    mean: float | None
    std: float | None
    low: float | None
    high: float | None


def student_t(values: Sequence[float]) -> Interval:
    """The 95 % Student t interval: mean ± t(0.975, n - 1) · std / sqrt(n).

    It is exact for normally distributed values and symmetric: of an accuracy near 1 it may reach beyond 1.
    """
    count = len(values)
    if not count:
        return Interval(None, None, None, None)
    mean = math.fsum(values) / count
    if count == 1:
        return Interval(mean, None, None, None)
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    reach = _quantile(count - 1) * std / math.sqrt(count)
    return Interval(mean, std, mean - reach, mean + reach)


@lru_cache
def _quantile(freedom: int) -> float:
    """The t that Student's distribution with so many degrees of freedom, >= 1, stays below in size with LEVEL.

    Found by halving, or for many degrees by the expansion around the normal distribution (Abramowitz and Stegun,
    26.7.5), which is then good to nine digits. scipy has it as well, and takes most of a second to import.
    """
    if freedom > _MANY:
        z = NormalDist().inv_cdf((1 + LEVEL) / 2)
        return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    low, high = 0.0, math.pi / 2
    while (angle := (low + high) / 2) not in (low, high):
        low, high = (angle, high) if _within(angle, freedom) < LEVEL else (low, angle)
    return math.sqrt(freedom) * math.tan(angle)


def _within(angle: float, freedom: int) -> float:
    """The chance of |t| <= sqrt(freedom) * tan(angle); Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = cosine if odd else 1.0, 0.0
    for step in range(2 + odd, freedom + 1, 2):
        total += term
        term *= cosine**2 * (step - 1) / step
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
