"""Estimates: the accuracy that a network is expected to have, from its trial's epochs up to it.

The accuracy of one epoch is a draw: the validation part is small, and training fluctuates from epoch to epoch. A front
of such accuracies is made of the lucky ones, which do worse on the test set and with other seeds. So networks are
judged by an estimate, the mean over the last epochs. It looks back only: what a network is judged by is known at once,
and does not depend on whether its trial trains on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

WINDOW = 5
"""Most epochs that an estimate is the mean of."""
_NINE_IN_TEN = 1.645
"""Standard deviations within which nine of ten normal draws lie."""


@dataclass(frozen=True)
class Estimate:
    """What a network is expected to reach on the validation part.

    Attributes:
        estimate: Expected accuracy.
        standard_error: Of the estimate.
    """

    estimate: float
    standard_error: float


def estimate(recent: Sequence[float], images: int) -> Estimate:
    """Judges a network.

    Args:
        recent: Accuracies of its trial on the validation part up to its epoch; the last `WINDOW` count.
        images: Number of images in the validation part.
    """
    used = recent[-WINDOW:]
    mean = math.fsum(used) / len(used)
    return Estimate(mean, math.sqrt(max(mean * (1 - mean), 0.25 / images) / images))


def fresh_interval(accuracy: float, standard_error: float) -> tuple[float, float]:
    """Where the accuracy of a training with a fresh seed is expected, in nine of ten cases.

    Such a training scatters about what is expected of it as the one did that the estimate is of.

    Args:
        accuracy: The estimate.
        standard_error: Its standard error.
    """
    reach = _NINE_IN_TEN * math.sqrt(2) * standard_error
    return accuracy - reach, accuracy + reach
