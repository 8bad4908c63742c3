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
    if freedom <= len(_QUANTILES):
        return _QUANTILES[freedom - 1]
    from scipy.special import stdtrit  # takes longer to import than a front takes to read

    return float(stdtrit(freedom, (1 + LEVEL) / 2))


_QUANTILES = (
    12.706204736, 4.302652730, 3.182446305, 2.776445105, 2.570581836, 2.446911851, 2.364624252, 2.306004135,
    2.262157163, 2.228138852, 2.200985160, 2.178812830, 2.160368656, 2.144786688, 2.131449546, 2.119905299,
    2.109815578, 2.100922040, 2.093024054, 2.085963447,
)  # fmt: skip
"""For one degree of freedom to twenty, as in every textbook: so many seeds are confirmed."""
