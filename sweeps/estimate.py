"""Estimates: the accuracy that a network is expected to have, from its trial's epochs up to it.

The accuracy of one epoch is a draw: the validation part is small, and training fluctuates from epoch to epoch. A front
of such accuracies is made of the lucky ones, which do worse on the test set and with other seeds. So networks are
judged by an estimate, the mean over the last epochs. It looks back only: what a network is judged by is known at once,
and does not depend on whether its trial trains on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyarrow import Table

from sweeps.store.columns import floats

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


def with_estimates(networks: Table) -> Table:
    """The networks with their estimates, which an older version did not write.

    Args:
        networks: Of whole trials, sorted by trial and epoch.
    """
    if not networks.column("estimate").null_count:
        return networks
    accuracies, trials = floats(networks, "val_accuracy"), floats(networks, "trial")
    steps = np.diff(np.unique(accuracies))
    images = round(1 / steps.min()) if len(steps) else 1  # accuracies are counts among so many images
    found = list[Estimate]()
    recent: list[float] = []
    for place, accuracy in enumerate(accuracies.tolist()):
        recent = [*recent[-WINDOW:], accuracy] if place and trials[place] == trials[place - 1] else [accuracy]
        found.append(estimate(recent, images))
    for name in ("estimate", "standard_error"):
        column = pa.array([getattr(one, name) for one in found], pa.float64())
        known = networks.column(name).combine_chunks().fill_null(column)
        networks = networks.set_column(networks.column_names.index(name), name, known)
    return networks


def fresh_interval(accuracy: float, standard_error: float) -> tuple[float, float]:
    """Where the accuracy of a training with a fresh seed is expected, in nine of ten cases.

    Such a training scatters about what is expected of it as the one did that the estimate is of.

    Args:
        accuracy: The estimate.
        standard_error: Its standard error.
    """
    reach = _NINE_IN_TEN * math.sqrt(2) * standard_error
    return accuracy - reach, accuracy + reach
