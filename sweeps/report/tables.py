"""Texts and tables of a report."""

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import metadata
from typing import Any

import numpy as np

from search_spaces.space import SearchSpace
from sweeps.analysis.comparison import Range, compare, notes
from sweeps.analysis.confirmed import Confirmed
from sweeps.analysis.front_rows import front_rows, name_of
from sweeps.display.panel import duration
from sweeps.figures import drawing
from sweeps.objectives import Key, Objectives
from sweeps.pareto import Table
from sweeps.report.answer import bracket, percent, why_empty
from sweeps.report.charts import spread

Record = dict[str, Any]

MOST_MEMBERS = 100
"""Maximum number of rows of the front; a larger front is thinned evenly."""
MOST_KINDS = 20
"""Maximum number of kinds of reasons that are listed."""
MOST_RANGES = 8
"""Maximum number of ranges of remaining weights that are listed."""
_PACKAGES = ("signed-supermask-sweeps", "ray", "optuna", "mlflow", "torch", "pyarrow", "moocore", "numpy")


def comparisons(
    networks: Table, others: Mapping[str, tuple[Table, Table]], *, name: str, trials: Table, objectives: Objectives
) -> list[Record]:
    """Other sweeps against this one: hypervolumes, their difference, who is better where, and what to bear in mind.

    Args:
        networks: All of the sweep.
        others: Networks and trials of each other sweep, by name.
        name: Of the sweep.
        trials: Of the sweep.
        objectives: What is good.
    """
    rows = list[Record]()
    factor = drawing.factor_of(next((metric for metric in objectives.directions if metric != "remaining"), ""))
    for other, (table, their_trials) in others.items():
        found = compare(networks, table, objectives)
        sides = {"one": name, "other": other, "neither": "neither"}
        rows.append(
            {
                "name": other,
                "volumes": [f"{volume:.4f}" for volume in found.volumes],
                "difference": f"{found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}]",
                "where": [_range(one, sides[one.better], factor) for one in found.where[:MOST_RANGES]],
                "more": max(0, len(found.where) - MOST_RANGES),
                "notes": notes(found, (name, other), (networks, table), (trials, their_trials), objectives),
            }
        )
    return rows


def _range(found: Range, better: str, factor: float) -> str:
    levels = f"{100 * found.low:.3g}" + (f" to {100 * found.high:.3g}" if found.low < found.high else "")
    span = f"{levels} % remaining: {better}"
    if found.gain is None:
        return f"{span} alone has networks"
    return f"{span}, by {factor * found.gain:.2g}" if found.better != "neither" else span


def hypervolume_text(objectives: Objectives) -> str:
    """Explains the hypervolume of a sweep and its history."""
    worst, best = zip(*map(objectives.ends, objectives.directions), strict=True)
    metrics = [*objectives.directions]
    ends = [" and ".join(map(_with_unit, metrics, side)) for side in (worst, best)]
    decades = [metric.replace("_", " ") for metric in metrics if objectives.is_log(metric)]
    scale = f"; {' and '.join(decades)} in factors of ten" if decades else ""
    return (
        f"What all networks dominate by their estimates, constraints aside: from 0 for {ends[0]} to 1 for {ends[1]}"
        f"{scale}. While it rises, more trials help."
    )


def _with_unit(metric: str, value: float) -> str:
    name, _, unit = drawing.label_of(metric).removesuffix(")").partition(" (")
    return f"{name} {drawing.factor_of(metric) * value:.3g} {unit}"


def front_record(members: Table, space: SearchSpace, recommended: Key | None) -> Record:
    """The front, row by row; of a large one, rows with even steps between."""
    front = front_rows(members.take(spread(members.num_rows, MOST_MEMBERS)), space)
    return {
        "headings": front.headings,
        "rows": [
            {"name": name_of(row), "best": (row["trial"], row["epoch"]) == recommended, "cells": front.cells(row)}
            for row in front.rows
        ],
        "left_out": members.num_rows - len(front.rows),
        "why_empty": why_empty(space),
    }


def confirmed_table(found: Sequence[Confirmed]) -> list[Record]:
    """Rows of confirmed networks."""
    return [
        {
            "name": one.name,
            "seeds": one.seeds,
            "accuracy": f"{percent(one.test_accuracy.mean)} {bracket(one.test_accuracy)}",
            "remaining": f"{percent(one.remaining.mean, 3)} {bracket(one.remaining, 3)}",
            "failed": f"{one.failed}: {', '.join(one.reasons)}" if one.failed else "",
        }
        for one in found
    ]


def endings(trials: Table) -> list[Record]:
    """Why trials were stopped or failed: each kind of reason, how often, and a trial to look at."""
    kinds: dict[tuple[str, str], list[tuple[int, str]]] = {}
    states = trials.column("state").to_pylist()
    columns = (trials.column(name).to_pylist() for name in ("trial", "reason"))
    for state, trial, reason in zip(states, *columns, strict=True):
        if state in ("failed", "stopped"):
            text = str(reason or "no reason was recorded")
            kinds.setdefault((state, text.split(":", maxsplit=1)[0]), []).append((trial, text))
    ordered = sorted(kinds.items(), key=lambda entry: (entry[0][0], -len(entry[1])))
    found = [
        {"state": state, "count": len(those), "trial": those[0][0], "reason": those[0][1]}
        for (state, _), those in ordered[:MOST_KINDS]
    ]
    left = sum(len(those) for _, those in ordered[MOST_KINDS:])
    rest = {"state": "", "count": left, "trial": "", "reason": f"{len(ordered) - MOST_KINDS} further kinds of reason"}
    return [*found, rest] if left else found


def provenance(trials: Table, space: SearchSpace, session: Mapping[str, Any], now: datetime) -> list[tuple[str, str]]:
    """Provenance of the results, as pairs of name and text."""
    columns = {name: trials.column(name).to_pylist() for name in ("host", "device", "dtype", "commit", "seed")}
    places = Counter(zip(columns["host"], columns["device"], columns["dtype"], strict=True))
    began, ended = trials.column("started").to_numpy(), trials.column("ended").to_numpy()
    commits = Counter(columns["commit"])
    seeds = sorted(seed for seed in columns["seed"] if seed is not None)
    used = sorted({str(seed) for seed in trials.column("data_seed").to_pylist() if seed is not None})
    return [
        ("when", f"{_moment(began, np.fmin)} to {_moment(ended, np.fmax)}"),
        ("time of all sessions", duration(session["seconds"])),
        ("trained on", "; ".join(_place(place, count) for place, count in places.most_common(10)) or "-"),
        ("commit", ", ".join(f"{name} ({_trials(count)})" for name, count in commits.most_common(10)) or "-"),
        ("seeds of trials", f"{seeds[0]} to {seeds[-1]}" if seeds else "-"),
        ("seeds of the data", ", ".join(used[:10]) + (", ..." if len(used) > 10 else "") or "-"),
        ("sampler", f"{space.sampler.name}, seed {space.sampler.seed}"),
        ("report written", f"{now:%Y-%m-%d %H:%M} UTC, with {_versions()}"),
    ]


def _moment(moments: np.ndarray, end: np.ufunc) -> str:
    """The first or last of moments, to the minute."""
    found = end.reduce(moments, initial=np.datetime64("NaT"))
    return "-" if np.isnat(found) else f"{str(found.astype('datetime64[m]')).replace('T', ' ')} UTC"


def _place(place: tuple[Any, ...], count: int) -> str:
    return f"{' '.join(str(part) for part in place if part) or 'unknown place'} ({_trials(count)})"


def _trials(count: int) -> str:
    return f"{count:,} trial{'' if count == 1 else 's'}"


def _versions() -> str:
    found = [f"Python {platform.python_version()}"]
    for name in _PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)
