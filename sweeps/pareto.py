"""The Pareto front of a table of trials, its knee and its hypervolume.

Only finished trials count, and of those only the ones whose objectives are finite numbers.
"""

import difflib
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import moocore
import numpy as np
import pyarrow as pa
from pyarrow import Table

from sweeps.errors import SweepError
from sweeps.objectives import Directions, Objectives, front_ranks, on_front, scaled
from sweeps.store.columns import equals, floats, rows

if TYPE_CHECKING:
    from search_spaces.space import Constraint, SearchSpace

CHECKPOINTS = 100
"""Maximum number of points of a history of more than two objectives."""

_DEPTH = 30
"""Fronts whose trials a resample may show. A trial of the k-th stands behind k - 1 others, each of a front of its own:
that a resample lacks all of these has the chance exp(1 - k), beyond the thirtieth front at most 1e-13."""


def values(table: Table, metric: str) -> np.ndarray:
    """A metric's column as floats, null as NaN.

    Raises:
        SweepError: If the table has no such column.
    """
    if metric not in table.column_names:
        near = difflib.get_close_matches(metric, table.column_names, n=1, cutoff=0.0)
        guess = f"Did you mean {near[0]!r}?" if near else "The table has no columns."
        raise SweepError(f"metric {metric}: must be a column of the results, but there is none. {guess}")
    return floats(table, metric)


def finished(table: Table) -> Table:
    """The rows of finished trials."""
    return rows(table, equals(table, "state", "finished"))


def feasible(table: Table, constraints: "Iterable[Constraint]") -> Table:
    """The rows that satisfy every constraint; a missing value satisfies none."""
    keep = np.ones(table.num_rows, dtype=bool)
    for constraint in constraints:
        column = values(table, constraint.metric)
        keep &= column >= constraint.bound if constraint.operator == ">=" else column <= constraint.bound
    return table if keep.all() else rows(table, keep)


def why_empty(constraints: "Iterable[Constraint]") -> str:
    """Explains why a front is empty."""
    bounds = ", ".join(map(str, constraints))
    return f"no finished trial keeps to: {bounds}" if bounds else "no trial has finished"


def front(table: Table, objectives: Directions) -> Table:
    """The finished trials that no other finished trial beats: as good in every objective and better in one.

    Args:
        table: Trials, e.g. from `sweeps.results.load`.
        objectives: What is good.

    Returns:
        The rows of the front, best first objective first. Of trials with equal objectives the lowest number stands.

    Raises:
        SweepError: If an objective is no column or has no direction.
    """
    places, costs = _costs(table, objectives)
    if not len(places):
        return table.slice(0, 0)
    by_trial = np.argsort(values(table, "trial")[places], kind="stable")
    places, costs = places[by_trial], costs[by_trial]
    members = np.flatnonzero(on_front(costs))
    order = np.lexsort(costs[members].T[::-1])
    return rows(table, places[members[order]])


def front_of(trials: Table, space: "SearchSpace", *, asked: "Iterable[Constraint]" = ()) -> Table:
    """The front of the trials that keep the constraints of a space, and those that are asked for beside."""
    return front(feasible(trials, (*space.constraints, *asked)), space.objectives)


def knee(front: Table, objectives: Directions) -> Table:
    """The member of a front where giving up more of one objective gains little of the other.

    It is the member that lies farthest from the chord between the front's two ends, on the better side of it; both
    objectives are scaled to [0, 1] over the front, `remaining` after taking its logarithm. Where no member bulges
    beyond the chord it is the end that is best in the first objective. A member without any weight counts only where
    there is no other.

    Args:
        front: From `front`.
        objectives: The two objectives that it is the front of.

    Returns:
        The row, or none of an empty front.

    Raises:
        SweepError: If there are not exactly two objectives.
    """
    members, place = _bulging(front, objectives)
    return members.slice(place, 1)


def has_knee(front: Table, objectives: Directions) -> bool:
    """Whether any member bulges beyond the chord, so that `knee` is not just the front's end.

    Raises:
        SweepError: If there are not exactly two objectives.
    """
    return _bulging(front, objectives)[1] > 0


def _bulging(front: Table, objectives: Directions) -> tuple[Table, int]:
    """The members of which one may be the knee, and the place of the one that bulges most; 0 where none does."""
    if len(objectives) != 2:
        raise SweepError(
            f"knee: the sweep must have two objectives, but has {len(objectives)}. Choose trials by their numbers."
        )
    positive = values(front, "remaining") > 0 if "remaining" in objectives else np.ones(front.num_rows, dtype=bool)
    members = rows(front, positive) if positive.any() else front
    if members.num_rows < 3 or not positive.any():
        return members, 0
    bulge = np.ones(members.num_rows)
    for costs in Objectives(objectives).cost_array(lambda metric: scaled(metric, values(members, metric))).T:
        bulge -= (costs - costs.min()) / np.ptp(costs)
    return members, int(np.argmax(np.round(bulge, 12)))


def hypervolume(table: Table, objectives: Directions) -> float:
    """The part of the objective space that the front dominates, up to the reference of `sweeps.objectives.RANGES`.

    A trial worse than the reference in any objective adds nothing. Constraints play no part.

    Raises:
        SweepError: If an objective has no direction or no reference.
    """
    _, costs = _costs(table, objectives)
    return _volume(costs, _reference(objectives))


def resampled_hypervolumes(
    table: Table, objectives: Directions, resamples: int, *, generator: np.random.Generator
) -> np.ndarray:
    """Hypervolumes of bootstrap resamples of the trials.

    Args:
        table: Trials; those that did not finish are drawn as well, and add nothing.
        objectives: What is good.
        resamples: How many.
        generator: Draws.

    Returns:
        Shape [resample].
    """
    _, costs = _costs(table, objectives)
    reference = _reference(objectives)
    costs = costs[(costs < reference).all(axis=1)]
    costs = costs[front_ranks(costs) < _DEPTH]
    volumes = np.zeros(resamples)
    if len(costs):
        for place, count in enumerate(generator.binomial(table.num_rows, len(costs) / table.num_rows, resamples)):
            drawn = np.unique(generator.integers(len(costs), size=count))
            volumes[place] = _volume(costs[drawn], reference)
    return volumes


def hypervolume_history(table: Table, objectives: Directions) -> Table:
    """History of the hypervolume over the course of the sweep.

    Returns:
        The columns `finished` (number of finished trials so far), `trial` (the last of them), `ended` and
        `hypervolume`, in the order of `ended`: a row for every finished trial, or for more than two objectives at
        most `CHECKPOINTS` rows.
    """
    ordered = finished(table).sort_by([("ended", "ascending"), ("trial", "ascending")])
    reference = _reference(objectives)
    costs = Objectives(objectives).cost_array(lambda metric: values(ordered, metric))
    gains = np.nan_to_num(reference - costs, nan=0.0, posinf=0.0, neginf=0.0)
    gains[(gains <= 0).any(axis=1)] = 0
    places = np.arange(len(gains))
    if len(reference) == 1:
        volumes = np.maximum.accumulate(gains[:, 0])
    elif len(reference) == 2:
        volumes = _areas(gains)
    else:
        places = np.unique(np.linspace(0, len(gains) - 1, min(len(gains), CHECKPOINTS)).astype(int))
        volumes = _volumes(gains, places)
    picked = rows(ordered.select(["trial", "ended"]), places)
    return picked.add_column(0, "finished", pa.array(places + 1)).append_column("hypervolume", pa.array(volumes))


def best_at(table: Table, levels: Sequence[float]) -> list[tuple[float, float | None]]:
    """For each level the best validation accuracy of a finished trial with at most that fraction remaining."""
    chosen = finished(table)
    accuracy, remaining = values(chosen, "val_accuracy"), values(chosen, "remaining")
    legal = [accuracy[(remaining <= level) & np.isfinite(accuracy)] for level in levels]
    return [(level, float(found.max()) if len(found) else None) for level, found in zip(levels, legal, strict=True)]


def _costs(table: Table, objectives: Directions) -> tuple[np.ndarray, np.ndarray]:
    """Places of the finished trials with finite objectives, and their costs."""
    costs = Objectives(objectives).cost_array(lambda metric: values(table, metric))
    known = equals(table, "state", "finished") & np.isfinite(costs).all(axis=1)
    return np.flatnonzero(known), costs[known]


def _reference(objectives: Directions) -> np.ndarray:
    """The reference point as costs."""
    asked = Objectives(objectives)
    return asked.signs * np.array(list(asked.reference().values()))


def _volume(costs: np.ndarray, reference: np.ndarray) -> float:
    return float(moocore.hypervolume(costs, ref=reference)) if len(costs) else 0.0


def _volumes(gains: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The volume after each of `rows`; only the front so far is carried from one to the next."""
    volumes, best, start = np.zeros(len(rows)), gains[:0], 0
    for index, row in enumerate(rows):
        best = np.concatenate([best, gains[start : row + 1]])
        best = best[on_front(-best)]
        volumes[index] = _volume(-best, np.zeros(gains.shape[1]))
        start = row + 1
    return volumes


def _areas(gains: np.ndarray) -> np.ndarray:
    """The area of the union of the boxes [0, x] x [0, y] after each row (x, y)."""
    areas, area = np.zeros(len(gains)), 0.0
    xs: list[float] = []  # The corners of the union's outline: x rises, y falls.
    ys: list[float] = []
    for index, (x, y) in enumerate(gains.tolist()):
        area += _push(xs, ys, x, y)
        areas[index] = area
    return areas


def _push(xs: list[float], ys: list[float], x: float, y: float) -> float:
    """Adds a box to the outline and returns the area it adds."""
    right = bisect_left(xs, x)
    if right < len(xs) and ys[right] >= y:
        return 0.0
    left = right
    while left and ys[left - 1] <= y:
        left -= 1
    # Under the new box the old outline is a row of steps, from the last corner that is higher to x itself.
    edges = [xs[left - 1] if left else 0.0, *xs[left:right], x]
    heights = [*ys[left:right], ys[right] if right < len(ys) else 0.0]
    added = sum((b - a) * (y - height) for a, b, height in zip(edges[:-1], edges[1:], heights, strict=True))
    beyond = right + 1 if right < len(xs) and xs[right] == x else right
    xs[left:beyond], ys[left:beyond] = [x], [y]
    return added
