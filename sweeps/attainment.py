"""Empirical attainment: which accuracy some number of weights was enough for, in how many of repeated trainings.

Grunert da Fonseca, Fonseca and Hall, "Inferential performance assessment of stochastic optimisers and the attainment
function", EMO 2001.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


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
    """The attainment surfaces of confirmed trials over their seeds.

    The trials that share a seed index form one front; only the indices that every trial was trained with count.
    A lane that diverged attained nothing.

    Args:
        rows: Rows of `sweeps.confirmations`, of all trials.

    Returns:
        None of fewer than two trials, or without a common seed or anything finished.
    """
    indices = [{row["seed_index"] for row in rows if row["trial"] == trial} for trial in {row["trial"] for row in rows}]
    common = set.intersection(*indices) if len(indices) > 1 else set[int]()
    used = [row for row in rows if row["seed_index"] in common and row["state"] == "finished"]
    if not used:
        return None
    levels = np.unique([row["remaining"] for row in used])
    attained = np.full((len(common), len(levels)), -np.inf)
    for place, index in enumerate(sorted(common)):
        for row in used:
            if row["seed_index"] == index:
                enough = levels >= row["remaining"]
                attained[place, enough] = np.maximum(attained[place, enough], row["test_accuracy"])
    ordered = np.sort(attained, axis=0)[::-1]
    half = (len(common) + 1) // 2 - 1
    return Surfaces(levels, ordered[0], ordered[half], ordered[-1], len(common))
