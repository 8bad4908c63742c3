"""Compares two sweeps: difference of hypervolumes with a bootstrap interval, and the better one by sparsity."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sweeps import pareto
from sweeps.errors import SweepError
from sweeps.objectives import Directions, Objectives
from sweeps.pareto import Asked, Table, judged, values

if TYPE_CHECKING:
    from search_spaces.space import SearchSpace

Side = Literal["one", "other", "neither"]
_PAST_ALL = float(np.nextafter(1.0, 2.0))
"""End of the last range, just above 1, so that dense networks lie within it."""
CONDITIONS = ("dataset", "validation_fraction", "data_seed", "epochs")
"""Columns that should agree between two sweeps for their searches to be comparable."""


@dataclass(frozen=True)
class Range:
    """Range of remaining weights in which one side stays ahead.

    Attributes:
        low: Least fraction of remaining weights.
        high: Greatest, up to which but not at which this holds; 1 of the last range, which holds at 1 as well.
        better: The side whose best network with at most so many weights has the better other objective.
        gain: How much better, the mean over the logarithm of remaining weights; None where the other side has no
            network with so few.
        most: The largest difference in the range, likewise.
    """

    low: float
    high: float
    better: Side
    gain: float | None
    most: float | None


@dataclass(frozen=True)
class Comparison:
    """Comparison of two sweeps.

    Attributes:
        volumes: Hypervolumes of both, see `sweeps.pareto.hypervolume`.
        difference: Of the first less of the second.
        low: Lower end of the 95 % bootstrap interval of the difference.
        high: Upper end.
        where: Who is better in which range of remaining weights, rising; empty unless `remaining` is minimized and is
            one of two objectives.
    """

    volumes: tuple[float, float]
    difference: float
    low: float
    high: float
    where: tuple[Range, ...]


def compare(one: Table, other: Table, objectives: Asked, *, resamples: int = 1000, seed: int = 0) -> Comparison:
    """Compares the networks of two sweeps.

    The interval is the percentile interval of the difference over resamples of the trials of both sweeps, drawn with
    replacement (Efron, "Bootstrap methods: another look at the jackknife", 1979). It answers which of two searches of
    this kind finds more, as though each trial had been drawn on its own. It knows nothing of seeds: confirm the trials
    in question. A resample has no better front than its sweep, so both volumes fall by a little; of sweeps of
    different length, the shorter one's by more, which `notes` says.

    Args:
        one: Networks of a sweep, from `sweeps.networks.load`.
        other: Of another.
        objectives: What is good, the same of both.
        resamples: How many, >= 1.
        seed: Draws them.

    Raises:
        SweepError: If an objective is no column, or has no direction or reference, or there are no resamples.
    """
    if resamples < 1:
        raise SweepError(f"resamples: must be 1 or more, but got {resamples}. Leave it out to have 1000.")
    volumes = pareto.hypervolume(one, objectives), pareto.hypervolume(other, objectives)
    generator = np.random.default_rng(seed)
    first, second = (
        pareto.resampled_hypervolumes(side, objectives, resamples, generator=generator) for side in (one, other)
    )
    low, high = np.quantile(first - second, [0.025, 0.975]).tolist()
    return Comparison(volumes, volumes[0] - volumes[1], low, high, tuple(_ranges(one, other, objectives)))


def check_objectives(names: tuple[str, str], spaces: tuple["SearchSpace", "SearchSpace"]) -> None:
    """Checks that two sweeps have the same objectives.

    Args:
        names: Of the sweeps.
        spaces: Their search spaces.

    Raises:
        SweepError: If that is not the same.
    """
    one, other = spaces
    if (one.objectives, one.scales) != (other.objectives, other.scales):
        raise SweepError(
            f"{', '.join(names)}: both must have the same objectives, but they have {_text(one)} and {_text(other)}. "
            "Compare sweeps of one question."
        )


def notes(
    found: Comparison,
    names: tuple[str, str],
    sides: tuple[Table, Table],
    trials: tuple[Table, Table],
    objectives: Asked,
) -> list[str]:
    """Caveats of a comparison: limits of its numbers, and other differences between the sweeps.

    Args:
        found: From `compare`.
        names: Of the sweeps.
        sides: Their networks.
        trials: Their ended trials.
        objectives: What is good.
    """
    return [
        *_at_reference(found, names, sides, objectives),
        *_other_lengths(found, names, trials),
        *_differences(names, trials),
    ]


def _at_reference(
    found: Comparison, names: tuple[str, str], sides: tuple[Table, Table], objectives: Asked
) -> Iterator[str]:
    asked = Objectives.given(objectives)
    ends = " or ".join(f"{metric} {asked.ends(metric)[0]:.4g}" for metric in asked.directions)
    for name, side, volume in zip(names, sides, found.volumes, strict=True):
        if not volume and pareto.front(side, objectives).num_rows:
            yield f"the hypervolume says nothing of {name}: all its networks have {ends}, or worse"


def _other_lengths(found: Comparison, names: tuple[str, str], trials: tuple[Table, Table]) -> Iterator[str]:
    counts = [side.num_rows for side in trials]
    (fewer, shorter), (more, _) = sorted(zip(counts, names, strict=True))
    if fewer < more and all(found.volumes):  # without a volume there is nothing that a resample could lose
        yield (
            f"the interval leans against {shorter}, which ended fewer trials ({fewer:,} against {more:,}): a "
            "resample only loses, the more the fewer there are"
        )


def _differences(names: tuple[str, str], sides: tuple[Table, Table]) -> Iterator[str]:
    for column in CONDITIONS:
        held = [sorted(set(side.column(column).unique().to_pylist()) - {None}) for side in sides]
        if all(held) and held[0] != held[1]:
            yield f"they differ in {column}: {names[0]} has {_list(held[0])}, {names[1]} has {_list(held[1])}"


def _list(held: Sequence[Any]) -> str:
    return ", ".join(map(str, held[:5])) + (", ..." if len(held) > 5 else "")


def _text(space: "SearchSpace") -> str:
    scales = {metric: f" ({scale})" for metric, scale in space.scales.items()}
    return ", ".join(f"{metric} {way}{scales.get(metric, '')}" for metric, way in space.objectives.items())


def _ranges(one: Table, other: Table, asked: Asked) -> list[Range]:
    objectives = Objectives.given(asked).directions
    metrics = [metric for metric in objectives if metric != "remaining"]
    if len(metrics) != 1 or objectives.get("remaining") != "minimize":
        return []
    sides = [_attained(side, objectives, metrics[0]) for side in (one, other)]
    starts = np.unique(np.concatenate([[_PAST_ALL], *(levels for levels, _ in sides)]))
    leads = _at(starts[:-1], *sides[0]) - _at(starts[:-1], *sides[1])
    signs = np.sign(leads)
    # A range ends where another side leads, and where one side has its first trial at all.
    kinds = np.where(np.isfinite(leads), signs, 2 * signs)
    cuts = np.flatnonzero(np.diff(kinds, prepend=np.nan) != 0)
    ends = np.append(cuts, len(leads))[1:]
    return [_range(starts[first : last + 1], leads[first:last]) for first, last in zip(cuts, ends, strict=True)]


def _attained(table: Table, objectives: Directions, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Levels of remaining weights, rising and positive, and the best value of the metric up to each."""
    members = pareto.front(table, objectives)
    order = np.argsort(values(members, "remaining"))
    levels, costs = values(members, "remaining")[order], Objectives(objectives).sign(metric) * judged(members, metric)
    return levels[levels > 0], -costs[order][levels > 0]


def _at(starts: np.ndarray, levels: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Best value attained at each level; -inf below the first."""
    return np.append(-np.inf, best)[np.searchsorted(levels, starts, side="right")]


def _range(edges: np.ndarray, leads: np.ndarray) -> Range:
    better: Side = "one" if leads[0] > 0 else "other" if leads[0] < 0 else "neither"
    low, high = float(edges[0]), min(float(edges[-1]), 1.0)
    if not np.isfinite(leads[0]):
        return Range(low, high, better, None, None)
    lengths = np.diff(np.log(edges))
    return Range(low, high, better, float(abs(leads) @ lengths / lengths.sum()), float(abs(leads).max()))
