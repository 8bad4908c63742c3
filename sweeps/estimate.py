"""Estimates: the accuracy that a network is expected to have, from its trial's epochs up to it.

The accuracy of one epoch is a draw: training fluctuates from epoch to epoch, and the validation part is small. A front
of such accuracies is made of lucky ones, which do worse on the test set and with other seeds. So a network is judged by
the mean over its trial's last epochs, less what a small validation part flatters: as if some more images had been
there, all misclassified (the posterior mean of a proportion under a beta prior). Of 287 images these take one point of
accuracy, of 6,000 a twentieth of one.

Estimates look back only: what a network is judged by is known at once, and does not depend on whether its trial trains
on. `benchmarks/estimates.py` measures how far they hold.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

WINDOW = 3
"""Most epochs that an estimate is the mean of."""
DOUBT = 3
"""Misclassified images that are added to the validation part."""
_REACH = 2.1
"""Standard errors from the estimate within which nine of ten trainings with a fresh seed end."""


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
    seen = images + DOUBT
    expected = math.fsum(used) / len(used) * images / seen
    return Estimate(expected, math.sqrt(max(expected * (1 - expected), 0.25 / seen) / seen))


def fresh_interval(accuracy: float, standard_error: float) -> tuple[float, float]:
    """Where the accuracy of a training with a fresh seed is expected, in nine of ten cases.

    Args:
        accuracy: The estimate.
        standard_error: Its standard error.
    """
    return accuracy - _REACH * standard_error, accuracy + _REACH * standard_error
