"""Samples the networks that a report draws: all of a small sweep, else the best and a sample of the others."""

from dataclasses import dataclass

import numpy as np

from sweeps import pareto
from sweeps.objectives import Objectives, front_ranks
from sweeps.pareto import Asked, Table
from sweeps.report.charts import spread
from sweeps.store.columns import integers

MOST_DRAWN = 4000
"""Maximum number of marks: more cover each other, and make the page large and slow."""
MOST_MEMBERS = 1000
"""Maximum number of marks of the front; only fronts of three and more objectives are as large."""
MOST_NEAR = 1500
"""Maximum number of networks drawn for their low non-dominated rank."""


@dataclass(frozen=True)
class Drawn:
    """The drawn networks.

    Attributes:
        rows: Of the table of networks, rising.
        text: For the page: which these are; empty when all of them are drawn.
    """

    rows: np.ndarray
    text: str


def draw(networks: Table, members: Table, objectives: Asked, *, most: int = MOST_DRAWN) -> Drawn:
    """Chooses networks to draw, the same ones each time.

    Args:
        networks: The front, and the best network of every other trial.
        members: The front.
        objectives: What the front is of.
        most: How many are drawn at most.
    """
    costs = Objectives.given(objectives).cost_array(lambda metric: pareto.judged(networks, metric))
    known = np.flatnonzero(np.isfinite(costs).all(axis=1))
    if len(known) <= most:
        return Drawn(known, "")
    on_front = np.flatnonzero(np.isin(_keys(networks), _keys(members)))
    front = on_front[spread(len(on_front), min(MOST_MEMBERS, most // 4))]
    others = np.setdiff1d(known, on_front)
    near = _best(others, costs, min(MOST_NEAR, most // 2))
    rest = np.setdiff1d(others, near)
    sample = rest[spread(len(rest), most - len(front) - len(near))]
    shown = f"all {len(front):,}" if len(front) == len(on_front) else f"{len(front):,} of {len(on_front):,}"
    text = (
        f"Of {len(known):,} networks {len(front) + len(near) + len(sample):,} are drawn: {shown} of the front, the "
        f"{len(near):,} next best (by non-dominated sorting), and of the other {len(rest):,} every "
        f"{len(rest) / max(len(sample), 1):.0f}th by trial. Tables and figures count every trial."
    )
    return Drawn(np.sort(np.concatenate([front, near, sample])), text)


def _keys(networks: Table) -> np.ndarray:
    """One number for each trial and epoch, which is at most a million."""
    return integers(networks, "trial") * 2**24 + integers(networks, "epoch")


def _best(rows: np.ndarray, costs: np.ndarray, most: int) -> np.ndarray:
    """The rows that come first in non-dominated sorting, of equal rank the earliest."""
    return rows[np.argsort(front_ranks(costs[rows]), kind="stable")[:most]]
