"""Early stopping on several objectives: asynchronous successive halving.

At a rung, a given number of epochs, a trial goes on if it is among the best 1/eta of all trials that have
reached the rung so far, and is stopped otherwise. Trials are ranked by non-dominated sorting; among equals
the ones in emptier parts of the front come first, so that the front stays spread (after MOASHA,
Schmucker et al., arXiv 2106.12639; crowding distance of NSGA-II, Deb et al. 2002).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import moocore
import numpy as np

from search_spaces.space import Stopping
from sweeps.keeping import Costs, costs_of


class Rungs:
    """What every trial had reached at each rung.

    The same reports in the same order give the same decisions. A trial that reports to a rung again, after
    its worker died, replaces its own record.
    """

    def __init__(self, stopping: Stopping, records: Mapping[int, Mapping[int, Costs]] | None = None) -> None:
        """Takes over what earlier sessions found.

        Args:
            stopping: Gives eta and the first rung.
            records: From `records_of`; None starts with empty rungs.
        """
        self._stopping = stopping
        self._records = {rung: dict(reached) for rung, reached in (records or {}).items()}

    def judge(self, epoch: int, reached: Mapping[int, Sequence[float]]) -> list[int]:
        """Trials reached a rung together.

        Args:
            epoch: The rung.
            reached: Costs of each trial there; less is better.

        Returns:
            The trials to stop.
        """
        rung = self._records.setdefault(epoch, {})
        rung.update({trial: tuple(costs) for trial, costs in reached.items()})
        trials = list(rung)
        best = best_first(np.array([rung[trial] for trial in trials]))
        going_on = max(1, len(trials) // self._stopping.eta)
        promoted = {trials[index] for index in best[:going_on]}
        return [trial for trial in reached if trial not in promoted]


def records_of(
    epochs: Iterable[Mapping[str, Any]], stopping: Stopping, objectives: Iterable[Sequence[str]]
) -> dict[int, dict[int, Costs]]:
    """What earlier sessions wrote of each rung, by trial, so that a new driver judges by the same records.

    Args:
        epochs: Epoch rows; those that are not at a rung are passed over.
        stopping: Says where the rungs are.
        objectives: Pairs of metric and direction.
    """
    records: dict[int, dict[int, Costs]] = {}
    pairs = list(objectives)
    for row in epochs:
        if is_rung(row["epoch"], stopping):
            costs = costs_of(row, pairs)
            if all(math.isfinite(cost) for cost in costs):
                records.setdefault(row["epoch"], {})[row["trial"]] = costs
    return records


def is_rung(epoch: int, stopping: Stopping) -> bool:
    """Whether trials are judged after this many epochs: grace, grace * eta, grace * eta^2, ..."""
    rung = stopping.grace_epochs
    while rung < epoch:
        rung *= stopping.eta
    return rung == epoch


def best_first(costs: np.ndarray[Any, Any]) -> list[int]:
    """Sorts points by non-dominated rank, then by crowding distance, then by position.

    Args:
        costs: `[point, objective]`, less is better.

    Returns:
        Positions, the best first.
    """
    ranks = moocore.pareto_rank(costs)
    distances = np.zeros(len(costs))
    for rank in np.unique(ranks):
        members = np.flatnonzero(ranks == rank)
        distances[members] = _crowding(costs[members])
    return np.lexsort((np.arange(len(costs)), -distances, ranks)).tolist()


def _crowding(costs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Size of the gap each point fills in its front, summed over objectives; infinite at the ends."""
    distances = np.zeros(len(costs))
    for column in costs.T:
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]]
        distances[order[[0, -1]]] = np.inf
        if len(order) > 2 and span > 0:
            distances[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return distances
