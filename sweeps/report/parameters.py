"""Searched parameters in a report: values, effects and importances."""

from typing import Any

import numpy as np

from search_spaces.space import CategoricalDistribution, Distribution, SearchSpace
from sweeps.analysis import searched
from sweeps.analysis.effects import effect
from sweeps.analysis.importance import HYPERVOLUME, importance
from sweeps.figures import drawing
from sweeps.pareto import Table
from sweeps.report.charts import Document, plain

BINS = 8
FEWEST_IN_BIN = 5
"""Minimum number of trials per bin; an interval over fewer says next to nothing."""
_MOST_CHOICES = 20


def parameters(space: SearchSpace, drawn: Table) -> list[Document]:
    """The searched parameters: each an axis, and its value in every network, None where its trial did not have it.

    Args:
        space: What was searched.
        drawn: The networks, with their trials' columns.
    """
    found = list[Document]()
    for name, parameter in space.parameters.items():
        has = searched.present(drawn, space, name)
        held = [value if own else None for value, own in zip(drawn.column(name).to_pylist(), has, strict=True)]
        found.append({"name": name, **_axis(name, parameter.distribution, held), "values": plain(held)})
    return found


def _axis(name: str, distribution: Distribution, held: list[Any]) -> Document:
    """Axis of a parameter; where results hold another value than the choice, the axis of these values."""
    label = name.replace("_", " ")
    if not isinstance(distribution, CategoricalDistribution):
        return {"label": label, "low": distribution.low, "high": distribution.high, "log": distribution.log}
    there = {value for value in held if value is not None}
    if there <= set(distribution.choices):
        return {"label": label, "choices": plain(distribution.choices)}
    if len(there) <= _MOST_CHOICES:
        return {"label": label, "choices": plain(sorted(there))}
    return {"label": label, "low": min(there), "high": max(there), "log": False}


def effects(networks: Table, space: SearchSpace) -> dict[str, list[Document]]:
    """How each objective changes with each parameter, the pruning rate first; without networks nothing.

    Args:
        networks: The best one of each trial, with its trial's columns.
        space: What was searched, and what is good.
    """
    bins = int(np.clip(networks.num_rows // FEWEST_IN_BIN, 1, BINS))
    first = sorted(space.parameters, key=lambda name: name != "pruning_rate")
    found = {name: [_effect(networks, name, metric, space, bins) for metric in space.objectives] for name in first}
    return {name: charts for name, charts in found.items() if all(chart["mean"] for chart in charts)}


def _effect(networks: Table, name: str, metric: str, space: SearchSpace, bins: int) -> Document:
    rows = effect(networks, name, metric, space=space, bins=bins).to_pylist()
    columns = {key: [row[key] for row in rows] for key in ("low", "middle", "high", "n")}
    heights = ("mean", "ci_low", "ci_high", "best")
    return {
        "label": drawing.label_of(metric),
        "axis": _axis(name, space.parameters[name].distribution, columns["middle"]),
        "from": plain(columns["low"]),
        "to": plain(columns["high"]),
        "middle": plain(columns["middle"]),
        "count": columns["n"],
        **{key: plain((row[key] for row in rows), drawing.factor_of(metric)) for key in heights},
    }


def importances(networks: Table, space: SearchSpace) -> list[tuple[str, list[tuple[str, float]]]]:
    """For each objective and for all together the parameters and their shares, the greatest first; see `effects`."""
    found: dict[str, list[tuple[str, float]]] = {}
    for row in importance(networks, space).to_pylist():
        found.setdefault(row["target"], []).append((row["parameter"].replace("_", " "), row["importance"]))
    return [(_target(target), shares) for target, shares in found.items()]


def _target(metric: str) -> str:
    return "all together (hypervolume)" if metric == HYPERVOLUME else drawing.label_of(metric).split(" (")[0]
