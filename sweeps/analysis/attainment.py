"""Empirical attainment: which accuracy some number of weights was enough for, in how many of repeated trainings.

Grunert da Fonseca, Fonseca and Hall, "Inferential performance assessment of stochastic optimisers and the attainment
function", EMO 2001.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import moocore
import numpy as np

from sweeps.objectives import Key

_BEYOND = (2.0, 0.0)
"""Remaining and -accuracy of a point that all seeds attain, so that one whose lanes all diverged is counted."""


@dataclass(frozen=True)
class Surfaces:
    """Accuracies that were attained with at most so many weights; -inf where nothing was attained.

    Attributes:
        remaining: Levels, fractions of remaining weights that occurred, rising.
        best: By at least one seed.
        median: By at least half of the seeds.
        worst: By all seeds.
        seeds: How many there are.
    """

    remaining: np.ndarray
    best: np.ndarray
    median: np.ndarray
    worst: np.ndarray
    seeds: int


def surfaces(rows: Sequence[Mapping[str, Any]]) -> Surfaces | None:
    """The attainment surfaces of confirmed networks over their seeds.

    The networks that share a seed index form one front. Where networks have different numbers of seeds, those networks
    and indices count that make up most trainings. A lane that diverged attained nothing.

    Args:
        rows: Rows of `sweeps.confirmations`, of all networks.

    Returns:
        None of fewer than two networks, or without a common seed or anything finished.
    """
    chosen, common = _largest_block(rows)
    used = [row for row in rows if (row["trial"], row["epoch"]) in chosen and row["seed_index"] in common]
    used = [row for row in used if row["state"] == "finished"]
    if not used:
        return None
    levels = np.unique([row["remaining"] for row in used])
    points = [(row["seed_index"], row["remaining"], -row["test_accuracy"]) for row in used]
    points += [(index, *_BEYOND) for index in common]
    attained = np.array(sorted(points))  # moocore takes the sets to lie one after the other
    found = moocore.eaf(attained[:, 1:], attained[:, 0], percentiles=(0, 50, 100))
    best, median, worst = (_at(levels, found[found[:, 2] == percent]) for percent in (0, 50, 100))
    return Surfaces(levels, best, median, worst, len(common))


def _at(levels: np.ndarray, surface: np.ndarray) -> np.ndarray:
    """The accuracies of a surface, given by its corners (remaining, -accuracy, percent), at some levels."""
    corners = surface[np.argsort(surface[:, 0])]
    accuracies = np.concatenate([[-np.inf], -corners[:, 1]])
    return accuracies[np.searchsorted(corners[:, 0], levels, side="right")]


def _largest_block(rows: Sequence[Mapping[str, Any]]) -> tuple[set[Key], set[int]]:
    """Two or more networks and the seed indices that all of them have, as many of both as possible."""
    indices: dict[Key, set[int]] = {}
    for row in rows:
        indices.setdefault((row["trial"], row["epoch"]), set()).add(row["seed_index"])
    best: tuple[set[Key], set[int]] = set(), set()
    for least in {len(own) for own in indices.values()}:
        group = {key for key, own in indices.items() if len(own) >= least}
        common = set.intersection(*(indices[key] for key in group))
        if len(group) > 1 and len(group) * len(common) > len(best[0]) * len(best[1]):
            best = group, common
    return best
