"""Marginal effects: a metric against one searched parameter, averaged over the best networks of a sweep's trials."""

from collections.abc import Callable
from typing import Any

import numpy as np

from search_spaces.space import CategoricalDistribution, SearchSpace
from sweeps.analysis.intervals import student_t
from sweeps.analysis.searched import column, parameter_of, present
from sweeps.errors import SweepError
from sweeps.objectives import Objectives
from sweeps.pareto import Table, finished, judged


def effect(networks: Table, parameter: str, metric: str, *, space: SearchSpace, bins: int = 8) -> Table:
    """The marginal effect of a parameter on a metric.

    The networks whose trials have the parameter are parted into bins of about equal number along it. A bin's mean is
    over all that the sweep tried there, the other parameters as they came: where a sampler looked closer, the good
    ones weigh more. Its interval is Student's t for that mean and says nothing of seeds.

    Args:
        networks: One of each trial with its configuration, see `sweeps.pareto.best_of_trials` and
            `sweeps.networks.with_trials`; of a table of trials the finished ones count.
        parameter: A searched parameter.
        metric: A column of numbers.
        space: Says where the parameter's values come from.
        bins: At most so many, >= 1. A parameter of few values, or of choices, has one bin a value.

    Returns:
        One row a bin, in the parameter's order: `low`, `high` and `middle` (of a logarithmic range the geometric
        mean), `n` networks, `mean` of the metric, `ci_low` and `ci_high` (95 %, null of one trial) and `best`. The
        first three hold the value itself where a bin is a value. No network, no row.

    Raises:
        SweepError: If the parameter is not searched, the metric is no column, or there is no bin to make.
    """
    if bins < 1:
        raise SweepError(f"bins: must be 1 or more, but got {bins}. Leave it out to have 8.")
    distribution = parameter_of(space, parameter).distribution
    chosen = finished(networks)
    measured = judged(chosen, metric)
    has = present(chosen, space, parameter) & np.isfinite(measured)
    where, measured = column(chosen, parameter)[has], measured[has]
    if isinstance(distribution, CategoricalDistribution) or len(np.unique(where)) <= bins:
        edges, bin_of = _each(where)
    else:
        edges, bin_of = _quantiles(where, bins, log=distribution.log)
    better = np.max if Objectives.of(space).sign(metric) < 0 else np.min
    rows = [
        {"low": low, "high": high, "middle": middle, **_summary(measured[bin_of == place], better)}
        for place, (low, high, middle) in enumerate(edges)
    ]
    return Table.from_pylist(rows) if rows else _EMPTY


_COLUMNS = ("low", "high", "middle", "n", "mean", "ci_low", "ci_high", "best")
_EMPTY = Table.from_pylist([dict.fromkeys(_COLUMNS, 0.0)]).slice(0, 0)
_Edges = list[tuple[Any, Any, Any]]


def _each(where: np.ndarray) -> tuple[_Edges, np.ndarray]:
    """One bin per value, and the bin of each trial."""
    found, bin_of = np.unique(where, return_inverse=True)
    return [(value, value, value) for value in found.tolist()], bin_of


def _quantiles(where: np.ndarray, bins: int, *, log: bool) -> tuple[_Edges, np.ndarray]:
    """Quantile bins; fewer where values repeat so often that edges coincide.

    Edges are values that occur, so that no bin is empty; a value on an edge belongs to the bin above it.
    """
    edges = np.unique(np.quantile(where, np.linspace(0, 1, bins + 1), method="inverted_cdf"))
    bin_of = np.clip(np.searchsorted(edges, where, side="right") - 1, 0, len(edges) - 2)
    low, high = edges[:-1], edges[1:]
    middle = np.sqrt(low * high) if log else (low + high) / 2
    return list(zip(low.tolist(), high.tolist(), middle.tolist(), strict=True)), bin_of


def _summary(measured: np.ndarray, better: Callable[[np.ndarray], Any]) -> dict[str, Any]:
    found = student_t(measured.tolist())
    best = float(better(measured))
    return {"n": len(measured), "mean": found.mean, "ci_low": found.low, "ci_high": found.high, "best": best}
