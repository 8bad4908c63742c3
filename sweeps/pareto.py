"""The Pareto front of a table of networks, its knee and its hypervolume.

A table of networks (`sweeps.networks.load`) has a row per trial and epoch, and every row counts. In a table of
trials (`sweeps.results.load`), which has the column `state`, each finished trial stands for its last network. Only rows
whose objectives are finite numbers count.
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
from sweeps.objectives import Directions, Objectives, front_ranks, judged_by, on_front
from sweeps.store.columns import equals, floats, rows

if TYPE_CHECKING:
    from search_spaces.space import Constraint, SearchSpace

Asked = Objectives | Directions
CHECKPOINTS = 100
"""Maximum number of points of a history of more than two objectives."""

_DEPTH = 30
"""Fronts whose networks a resample may show. One of the k-th stands behind k - 1 others, each of a front of its own:
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


def judged(table: Table, metric: str) -> np.ndarray:
    """What the rows are judged by in a metric: accuracy on the validation part by its estimate, where there is one.

    Raises:
        SweepError: If the table has no such column.
    """
    column = judged_by(metric, table.column_names)
    found = values(table, column)
    return found if column == metric else np.where(np.isnan(found), values(table, metric), found)


def finished(table: Table) -> Table:
    """The rows that count: of finished trials, or all networks."""
    return rows(table, equals(table, "state", "finished")) if "state" in table.column_names else table


def feasible(table: Table, constraints: "Iterable[Constraint]") -> Table:
    """The rows that satisfy every constraint; a missing value satisfies none."""
    keep = np.ones(table.num_rows, dtype=bool)
    for constraint in constraints:
        column = judged(table, constraint.metric)
        keep &= column >= constraint.bound if constraint.operator == ">=" else column <= constraint.bound
    return table if keep.all() else rows(table, keep)


def why_empty(constraints: "Iterable[Constraint]") -> str:
    """Explains why a front is empty."""
    bounds = ", ".join(map(str, constraints))
    return f"no network keeps to: {bounds}" if bounds else "no epoch has ended"


def front(table: Table, objectives: Asked) -> Table:
    """The networks that no other beats: as good in every objective and better in one.

    Args:
        table: Networks, or trials.
        objectives: What is good.

    Returns:
        The rows of the front, best first objective first. Of networks with equal objectives that of the lowest trial
        and epoch stands.

    Raises:
        SweepError: If an objective is no column or has no direction.
    """
    places, costs = _costs(table, objectives)
    if not len(places):
        return table.slice(0, 0)
    keys = [values(table, name)[places] for name in ("epoch", "trial") if name in table.column_names]
    by_number = np.lexsort(keys)
    places, costs = places[by_number], costs[by_number]
    members = np.flatnonzero(on_front(costs))
    order = np.lexsort(costs[members].T[::-1])
    return rows(table, places[members[order]])


def front_of(table: Table, space: "SearchSpace", *, asked: "Iterable[Constraint]" = ()) -> Table:
    """The front of the networks that keep the constraints of a space, and those that are asked for beside."""
    return front(feasible(table, (*space.constraints, *asked)), Objectives.of(space))


def own_fronts(networks: Table, objectives: Asked) -> Table:
    """The networks that no other of their trial beats: all that can be on a front, and a small part of all.

    Of more than two objectives, these are all networks.

    Args:
        networks: Networks, sorted by trial and epoch.
        objectives: What is good.
    """
    costs = Objectives.given(objectives).cost_array(lambda metric: judged(networks, metric))
    places = np.flatnonzero(np.isfinite(costs).all(axis=1))
    if costs.shape[1] > 2 or not len(places):
        return rows(networks, places)
    trials = np.unique(values(networks, "trial")[places], return_inverse=True)[1]
    first, last = costs[places, 0], np.unique(costs[places, -1], return_inverse=True)[1]
    order = np.lexsort((last, first, trials))
    # Along the first objective the second must fall. Whole numbers that fall from trial to trial begin anew at each.
    falling = last[order] - trials[order] * (int(last.max()) + 1)
    least = np.minimum.accumulate(falling)
    keep = np.append(True, falling[1:] < least[:-1])
    return rows(networks, np.sort(places[order[keep]]))


def best_of_trials(networks: Table, objectives: Asked) -> Table:
    """The network of each trial that alone has the largest hypervolume; one that keeps the constraints before others.

    Args:
        networks: Networks.
        objectives: What is good.

    Returns:
        A row per trial, sorted by trial.
    """
    asked = Objectives.given(objectives)
    worth = _gains(networks, asked).prod(axis=1)
    for bound in asked.constraints:
        column = judged(networks, bound.metric)
        worth -= column < bound.bound if bound.operator == ">=" else column > bound.bound
    trials = values(networks, "trial")
    order = np.lexsort((values(networks, "epoch"), -worth, trials))
    return rows(networks, order[np.diff(trials[order], prepend=np.nan) != 0])


def knee(front: Table, objectives: Asked) -> Table:
    """The member of a front where giving up more of one objective gains little of the other.

    It is the member that lies farthest from the chord between the front's two ends, on the better side of it; both
    objectives are scaled to [0, 1] over the front, on their scales. Where no member bulges
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


def has_knee(front: Table, objectives: Asked) -> bool:
    """Whether any member bulges beyond the chord, so that `knee` is not just the front's end.

    Raises:
        SweepError: If there are not exactly two objectives.
    """
    return _bulging(front, objectives)[1] > 0


def _bulging(front: Table, objectives: Asked) -> tuple[Table, int]:
    """The members of which one may be the knee, and the place of the one that bulges most; 0 where none does."""
    asked = Objectives.given(objectives)
    if len(asked.directions) != 2:
        raise SweepError(
            f"knee: the sweep must have two objectives, but has {len(asked.directions)}. Choose by trial and epoch."
        )
    positive = np.ones(front.num_rows, dtype=bool)
    if "remaining" in asked.directions:
        positive = values(front, "remaining") > 0
    members = rows(front, positive) if positive.any() else front
    if members.num_rows < 3 or not positive.any():
        return members, 0
    bulge = np.ones(members.num_rows)
    for costs in asked.cost_array(lambda metric: judged(members, metric)).T:
        bulge -= (costs - costs.min()) / np.ptp(costs)
    return members, int(np.argmax(np.round(bulge, 12)))


def hypervolume(table: Table, objectives: Asked) -> float:
    """The part of the objective space that the front dominates, from 0 to 1, see `Objectives.gain_array`.

    Constraints play no part.

    Raises:
        SweepError: If an objective has no direction or no range.
    """
    return _volume(_gains(table, objectives))


def resampled_hypervolumes(
    table: Table, objectives: Asked, resamples: int, *, generator: np.random.Generator
) -> np.ndarray:
    """Hypervolumes of bootstrap resamples of the trials, each with all of its networks.

    Args:
        table: Networks, or trials; those that did not finish are drawn as well, and add nothing.
        objectives: What is good.
        resamples: How many.
        generator: Draws.

    Returns:
        Shape [resample].
    """
    gains, trials = _gains(table, objectives, counted_only=False), values(table, "trial")
    number = len(np.unique(trials))
    known = gains.all(axis=1)
    gains, trials = gains[known], trials[known]
    shown = front_ranks(-gains) < _DEPTH
    gains, owner = gains[shown], np.unique(trials[shown], return_inverse=True)[1]
    owners = owner.max(initial=-1) + 1
    volumes = np.zeros(resamples)
    if owners:
        for place, count in enumerate(generator.binomial(number, owners / number, resamples)):
            drawn = np.zeros(owners, dtype=bool)
            drawn[generator.integers(owners, size=count)] = True
            volumes[place] = _volume(gains[drawn[owner]])
    return volumes


def hypervolume_history(table: Table, objectives: Asked) -> Table:
    """History of the hypervolume over the course of the sweep.

    Returns:
        The columns `networks` (number so far), `trial` (of the last of them), `ended` and `hypervolume`, in the order
        of `ended`: a row for every network, or for more than two objectives at most `CHECKPOINTS` rows.
    """
    counted = finished(table)
    keys = [(name, "ascending") for name in ("ended", "trial", "epoch") if name in counted.column_names]
    ordered = counted.sort_by(keys)
    gains = _gains(ordered, objectives)
    places = np.arange(len(gains))
    if gains.shape[1] == 1:
        volumes = np.maximum.accumulate(gains[:, 0])
    elif gains.shape[1] == 2:
        volumes = _areas(gains)
    else:
        places = np.unique(np.linspace(0, len(gains) - 1, min(len(gains), CHECKPOINTS)).astype(int))
        volumes = _volumes(gains, places)
    picked = rows(ordered.select(["trial", "ended"]), places)
    return picked.add_column(0, "networks", pa.array(places + 1)).append_column("hypervolume", pa.array(volumes))


def best_at(table: Table, levels: Sequence[float]) -> list[tuple[float, float | None]]:
    """For each level the best accuracy, by estimate, of a network with at most that fraction remaining."""
    chosen = finished(table)
    accuracy, remaining = judged(chosen, "val_accuracy"), values(chosen, "remaining")
    legal = [accuracy[(remaining <= level) & np.isfinite(accuracy)] for level in levels]
    return [(level, float(found.max()) if len(found) else None) for level, found in zip(levels, legal, strict=True)]


def _costs(table: Table, objectives: Asked) -> tuple[np.ndarray, np.ndarray]:
    """Places of the rows that count with finite objectives, and their costs."""
    costs = Objectives.given(objectives).cost_array(lambda metric: judged(table, metric))
    known = _counted(table) & np.isfinite(costs).all(axis=1)
    return np.flatnonzero(known), costs[known]


def _counted(table: Table) -> np.ndarray:
    if "state" in table.column_names:
        return equals(table, "state", "finished")
    return np.ones(table.num_rows, dtype=bool)


def _gains(table: Table, objectives: Asked, *, counted_only: bool = True) -> np.ndarray:
    """Gains over the reference of all rows, of shape [row, objective]; those of rows that do not count are 0."""
    asked = Objectives.given(objectives)
    gains = asked.gain_array(lambda metric: judged(table, metric))
    counted = _counted(table)
    if counted_only:
        return gains[counted]
    gains[~counted] = 0
    return gains


def _volume(gains: np.ndarray) -> float:
    return float(moocore.hypervolume(-gains, ref=np.zeros(gains.shape[1]))) if len(gains) else 0.0


def _volumes(gains: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The volume after each of `rows`; only the front so far is carried from one to the next."""
    volumes, best, start = np.zeros(len(rows)), gains[:0], 0
    for index, row in enumerate(rows):
        best = np.concatenate([best, gains[start : row + 1]])
        best = best[on_front(-best)]
        volumes[index] = _volume(best)
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
