"""Mean, standard deviation and 95 % Student t interval of a few measured values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

LEVEL = 0.95
"""Confidence of the intervals."""


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
    """The t that Student's distribution with so many degrees of freedom, >= 1, stays below in size with LEVEL."""
    from scipy.special import stdtrit  # which takes longer to import than all else that reads results

    return float(stdtrit(freedom, (1 + LEVEL) / 2))
