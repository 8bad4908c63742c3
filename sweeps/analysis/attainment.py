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

    The trials that share a seed index form one front. Where trials have different numbers of seeds, those trials and
    indices count that make up most trainings. A lane that diverged attained nothing.

    Args:
        rows: Rows of `sweeps.confirmations`, of all trials.

    Returns:
        None of fewer than two trials, or without a common seed or anything finished.
    """
    chosen, common = _largest_block(rows)
    used = [row for row in rows if row["trial"] in chosen and row["seed_index"] in common]
    used = [row for row in used if row["state"] == "finished"]
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


def _largest_block(rows: Sequence[Mapping[str, Any]]) -> tuple[set[int], set[int]]:
    """Two or more trials and the seed indices that all of them have, as many of both as possible."""
    indices: dict[int, set[int]] = {}
    for row in rows:
        indices.setdefault(row["trial"], set()).add(row["seed_index"])
    best: tuple[set[int], set[int]] = set(), set()
    for least in {len(own) for own in indices.values()}:
        group = {trial for trial, own in indices.items() if len(own) >= least}
        common = set.intersection(*(indices[trial] for trial in group))
        if len(group) > 1 and len(group) * len(common) > len(best[0]) * len(best[1]):
            best = group, common
    return best
