"""Data of the charts of a report, for JSON: in percent, rounded to five digits unless whole."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from search_spaces.space import SearchSpace
from sweeps import pareto
from sweeps.analysis.confirmed import Confirmed
from sweeps.analysis.intervals import Interval
from sweeps.figures import drawing
from sweeps.figures.drawing import Reference
from sweeps.objectives import Key, Objectives, network_name
from sweeps.pareto import Table
from sweeps.store.columns import integers

Document = dict[str, Any]

PANEL = ("val_accuracy", "remaining", "inverted", "test_accuracy", "train_loss", "val_loss")
"""Metrics shown for one network after its estimate, as they were measured in its epoch."""
CURVES = ("val_accuracy", "remaining")
"""Metrics shown for every epoch."""
MOST_NUMBERS = 200_000
"""Maximum number of values of all curves, and of all layers: about 1.4 MB."""
MOST_STEPS = 60
"""Maximum number of epochs of a curve; a longer one is thinned."""
MOST_CHECKPOINTS = 400
"""Maximum number of points of the hypervolume's history."""


def plain(values: Iterable[Any], factor: float = 1.0) -> list[Any]:
    """Converts numbers for JSON: non-finite ones become None, text stays."""
    return [_plain(value, factor) for value in values]


def _plain(value: Any, factor: float) -> Any:
    if isinstance(value, str) or value is None:
        return value
    if not math.isfinite(value):
        return None
    if isinstance(value, int):
        return value
    scaled = float(value * factor)
    return scaled if scaled.is_integer() else float(f"{scaled:.5g}")


def spread(count: int, most: int) -> np.ndarray:
    """Places of at most `most` of `count` rows, evenly spaced, first and last included."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int)) if count else np.arange(0)


def front_chart(
    space: SearchSpace,
    networks: Table,
    members: Table,
    drawn: Table,
    *,
    references: Sequence[Reference],
    beside: Mapping[str, Table],
    confirmed: Sequence[Confirmed],
) -> Document:
    """Chart of the networks, the front, and points of comparison.

    Args:
        space: Of the sweep.
        networks: The front, and the best network of each trial.
        members: The front.
        drawn: Those of the networks that are drawn.
        references: Published points.
        beside: The fronts of other sweeps by name.
        confirmed: Networks that were trained again.
    """
    across, up = drawing.axes_of(space.objectives)
    compared = across == "remaining" and up in ("val_accuracy", "test_accuracy")
    marks = [(100 * one.remaining, 100 * one.accuracy) for one in references if compared]
    again = [_confirmed(one) for one in confirmed if compared and one.seeds]
    others = {name: drawing.points_of(table, across, up) for name, table in beside.items()}
    points = drawing.points_of(networks, across, up)
    named = np.array([*marks, *((one["x"][0], one["y"][0]) for one in again)]).reshape(-1, 2)
    shown = np.concatenate([points, named, *others.values()])
    window = _limits(shown, log=compared)
    seen = window
    if compared and len(points):
        corners = np.concatenate([named, *(_upper(found) for found in others.values())])
        seen = drawing.window(points, drawing.points_of(members, across, up), corners)
    places = {key: row for row, key in enumerate(keys_of(drawn))}
    order = np.argsort(pareto.values(members, across), kind="stable")
    on_front = [places.get(key) for key in keys_of(members.take(order))]
    return {
        "x": _axis(across, seen[0], log=compared),
        "y": _axis(up, seen[1], log=False),
        "all": [_axis(across, window[0], log=compared), _axis(up, window[1], log=False)],
        "step": (drawing.step_of(space.objectives, across) or "").removeprefix("steps-"),
        "front": [row for row in on_front if row is not None],
        "references": [{"label": one.label, "x": x, "y": y} for one, (x, y) in zip(references, marks, strict=compared)],
        "beside": [
            {"name": name, "x": plain(found[:, 0]), "y": plain(found[:, 1])}
            for name, found in ((name, found[np.argsort(found[:, 0])]) for name, found in others.items())
        ],
        "confirmed": again,
    }


def _upper(front: np.ndarray) -> np.ndarray:
    """The better half of another sweep's front: its collapsed end need not be in the window."""
    return front[front[:, 1] >= np.median(front[:, 1])] if len(front) else front


def _limits(points: np.ndarray, *, log: bool) -> tuple[tuple[float, float], tuple[float, float]]:
    """Limits that contain all points, with a margin."""
    points = points[points[:, 0] > 0] if log else points
    if not len(points):
        return (0.1, 100.0), (0.0, 100.0)
    (left, bottom), (right, top) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    margins = [0.04 * (high - low) or 0.5 for low, high in ((left, right), (bottom, top))]
    across = (left / 1.2, right * 1.2) if log else (left - margins[0], right + margins[0])
    return across, (bottom - margins[1], top + margins[1])


def _axis(column: str, limits: tuple[float, float], *, log: bool) -> Document:
    return {"label": drawing.label_of(column), "low": limits[0], "high": limits[1], "log": log}


def _confirmed(one: Confirmed) -> Document:
    return {
        "name": one.name,
        "seeds": one.seeds,
        "x": interval(one.remaining),
        "y": interval(one.test_accuracy),
    }


def interval(found: Interval) -> list[Any]:
    """Mean, low and high in percent."""
    return plain((found.mean, found.low, found.high), 100)


def trial_columns(drawn: Table, across: str, up: str) -> Document:
    """Columns of the drawn networks."""
    columns = {name: plain(drawn.column(name).to_pylist(), drawing.factor_of(name)) for name in PANEL}
    judged = zip(drawn.column("estimate").to_pylist(), drawn.column("standard_error").to_pylist(), strict=True)
    return {
        "name": [network_name(key) for key in keys_of(drawn)],
        "trial": drawn.column("trial").to_pylist(),
        "epoch": drawn.column("epoch").to_pylist(),
        "estimate": [f"{100 * expected:.2f} ± {100 * error:.2f}" for expected, error in judged],
        "stopped": [int(state == "stopped") for state in drawn.column("trial_state").to_pylist()],
        "epochs": drawn.column("epochs_done").to_pylist(),
        "seed": drawn.column("seed").to_pylist(),
        "x": plain(pareto.judged(drawn, across), drawing.factor_of(across)),
        "y": plain(pareto.judged(drawn, up), drawing.factor_of(up)),
        "metrics": [
            {"name": name, "label": drawing.label_of(name), "values": values} for name, values in columns.items()
        ],
    }


def hypervolume(networks: Table, objectives: Objectives) -> Document:
    """History of the hypervolume of all networks, constraints aside, thinned to where it grew."""
    history = pareto.hypervolume_history(networks, objectives)
    if not history.num_rows:
        return {"networks": [], "hours": [], "volume": []}
    volumes = pareto.values(history, "hypervolume")
    grew = np.flatnonzero(np.diff(volumes, prepend=-1.0) > 0)
    rows = np.unique([*grew[spread(len(grew), MOST_CHECKPOINTS)], len(volumes) - 1])
    ended = history.column("ended").to_numpy()
    hours = (ended[rows] - np.fmin.reduce(ended)) / np.timedelta64(1, "h")
    return {
        "networks": pareto.values(history, "networks")[rows].astype(int).tolist(),
        "hours": plain(hours),
        "volume": plain(volumes[rows]),
    }


def curve_metrics() -> list[Document]:
    """The metrics of the curves as axes; remaining weights fall by orders of magnitude."""
    return [{"name": name, "label": drawing.label_of(name), "log": name == "remaining"} for name in CURVES]


def curves(networks: Table, order: Sequence[int]) -> Document:
    """Learning curves, for as many trials as `MOST_NUMBERS` allows.

    Args:
        networks: All of the sweep, sorted by trial and epoch.
        order: Numbers of trials, the most important first.
    """
    numbers, steps = integers(networks, "trial"), integers(networks, "epoch")
    columns = {name: pareto.values(networks, name) for name in CURVES}
    found: Document = {}
    room = MOST_NUMBERS
    for trial in order:
        start, stop = np.searchsorted(numbers, [trial, trial + 1]).tolist()
        rows = start + spread(stop - start, MOST_STEPS)
        room -= (1 + len(CURVES)) * len(rows)
        if room < 0:
            break
        if len(rows):
            found[str(trial)] = {
                "epoch": steps[rows].tolist(),
                **{name: plain(column[rows], 100) for name, column in columns.items()},
            }
    return found


def layers(drawn: Table, order: Sequence[Key]) -> Document:
    """Mask statistics by layer, for as many networks as `MOST_NUMBERS` allows.

    Args:
        drawn: Of the drawn networks, from `sweeps.networks.load_layers`.
        order: Networks, the most important first.
    """
    rows = {key: row for row, key in enumerate(keys_of(drawn))}
    column = drawn.column("layers")
    found: Document = {}
    room = MOST_NUMBERS
    for key in order:
        own = (column[rows[key]].as_py() if key in rows else None) or []
        room -= 3 * len(own)
        if room < 0:
            break
        if own:
            found[network_name(key)] = {
                "name": [layer["name"] for layer in own],
                **{part: plain((layer[part] for layer in own), 100) for part in ("remaining", "inverted")},
            }
    return found


def keys_of(networks: Table) -> list[Key]:
    """Trial and epoch of each network."""
    return list(zip(networks.column("trial").to_pylist(), networks.column("epoch").to_pylist(), strict=True))
