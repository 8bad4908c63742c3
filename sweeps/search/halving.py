"""Early stopping on several objectives: asynchronous successive halving.

At a rung, a given number of epochs, a trial goes on if it is among the best 1/eta of all trials that have
reached the rung so far, and is stopped otherwise. What remains of a network falls until its last epoch, so a rung
ranks by what will remain then: a forecast that every epoch to come leaves the share that the last one left. Trials that
keep the constraints come first, then those that miss them by less: without that, networks that classify nothing with
hardly a weight would be promoted as one end of the front. Within these trials are ranked by non-dominated sorting;
among equals the ones in emptier parts of the front come first, so that the front stays spread (after MOASHA, Schmucker
et al., arXiv 2106.12639; constrained domination and crowding distance of NSGA-II, Deb et al. 2002).
"""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from search_spaces.space import SearchSpace, Stopping
from sweeps.objectives import Objectives, front_ranks

if TYPE_CHECKING:
    from supermask.pack import Pack

Standing = tuple[float, ...]
"""How a trial stands at a rung: by how much it misses the constraints in all, then its costs; less is better."""

Records = dict[int, dict[int, Standing]]
"""Standings by rung and trial."""


class Rungs:
    """What every trial had reached at each rung.

    The same reports in the same order give the same decisions. A trial that reports to a rung again, after
    its worker died, replaces its own record.
    """

    def __init__(self, space: SearchSpace, stopping: Stopping, records: Records | None = None) -> None:
        """Takes over what earlier sessions found.

        Args:
            space: Gives objectives and constraints.
            stopping: Gives eta and the first rung.
            records: From `records_of`; None starts with empty rungs.
        """
        self._space, self._stopping = space, stopping
        self._records = {rung: dict(reached) for rung, reached in (records or {}).items()}

    def judge(self, epoch: int, reached: Mapping[int, Mapping[str, Any]]) -> list[int]:
        """Trials reached a rung together.

        Args:
            epoch: The rung.
            reached: Metrics of each trial there, by name, and `remaining_before`: what remained an epoch earlier, or
                None at the first epoch.

        Returns:
            The trials to stop.
        """
        rung = self._records.setdefault(epoch, {})
        rung.update({trial: standing_of(metrics, self._space, epoch=epoch) for trial, metrics in reached.items()})
        trials = list(rung)
        best = best_first(np.array([rung[trial] for trial in trials]))
        going_on = max(1, len(trials) // self._stopping.eta)
        promoted = {trials[index] for index in best[:going_on]}
        return [trial for trial in reached if trial not in promoted]


def standing_of(metrics: Mapping[str, Any], space: SearchSpace, *, epoch: int) -> Standing:
    """How a trial with these metrics stands, see `Rungs.judge`."""
    metrics = {**metrics, "remaining": _remaining_at_the_end(metrics, space, epoch)}
    objectives = Objectives.of(space)
    return (objectives.violation(metrics), *objectives.costs(metrics))


def _remaining_at_the_end(metrics: Mapping[str, Any], space: SearchSpace, epoch: int) -> float:
    now, before = metrics["remaining"], metrics["remaining_before"]
    if not before or now >= before or "epochs" in space.parameters:
        return now
    return now * (now / before) ** (space.most_epochs - epoch)


def records_of(epochs: Iterable[Mapping[str, Any]], space: SearchSpace, stopping: Stopping) -> Records:
    """What earlier sessions wrote of each rung, so that a new driver judges by the same records.

    Args:
        epochs: Epoch rows of the latest attempts.
        space: Gives objectives and constraints.
        stopping: Says where the rungs are.
    """
    records: Records = {}
    rows = {(row["trial"], row["epoch"]): row for row in epochs}
    for (trial, epoch), row in rows.items():
        if is_rung(epoch, stopping):
            before = rows.get((trial, epoch - 1), {}).get("remaining")
            standing = standing_of({**row, "remaining_before": before}, space, epoch=epoch)
            if all(math.isfinite(number) for number in standing):
                records.setdefault(epoch, {})[trial] = standing
    return records


def is_rung(epoch: int, stopping: Stopping) -> bool:
    """Whether trials are judged after this many epochs: grace, grace * eta, grace * eta^2, ..."""
    rung = stopping.grace_epochs
    while rung < epoch:
        rung *= stopping.eta
    return rung == epoch


def remaining_before(pack: "Pack", stopping: Stopping | None) -> dict[int, float]:
    """What remains of each lane, for `Rungs.judge`; to be asked before each epoch, and counted only before a rung.

    Returns:
        By lane; empty before an epoch that ends at no rung, and before the first.
    """
    if stopping is None or not pack.epoch or not is_rung(pack.epoch + 1, stopping):
        return {}
    return dict(zip(pack.lanes, pack.fractions()[0], strict=True))


def best_first(standings: np.ndarray[Any, Any]) -> list[int]:
    """Sorts by what is missed of the constraints; those that keep them by non-dominated rank, then crowding distance.

    Equals stay in their order.

    Args:
        standings: `[trial, 1 + objectives]`, see `Standing`.

    Returns:
        Positions, the best first.
    """
    missed, costs = standings[:, 0], standings[:, 1:]
    # A network that breaks the constraints is on no front: it must not crowd those that keep them either.
    kept = np.flatnonzero(missed <= 0)
    ranks, distances = np.zeros(len(costs)), np.zeros(len(costs))
    ranks[kept] = front_ranks(costs[kept])
    for rank in np.unique(ranks[kept]):
        members = kept[ranks[kept] == rank]
        distances[members] = _crowding(costs[members])
    return np.lexsort((np.arange(len(costs)), -distances, ranks, missed)).tolist()


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
