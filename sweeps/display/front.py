"""Output of a front: a table for terminals, JSON records, CSV, and pictures."""

import csv
import io
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from search_spaces.space import Constraint, SearchSpace
from sweeps import pareto
from sweeps.analysis.front_rows import FrontRows, name_of
from sweeps.analysis.recommendation import recommend
from sweeps.display.fitting_table import Column, FittingTable
from sweeps.display.panel import count
from sweeps.errors import SweepError
from sweeps.objectives import FRACTIONS, RANGES, Key
from sweeps.pareto import Table as ArrowTable
from sweeps.results import CONFIG_COLUMNS
from sweeps.store.columns import integers, rows
from sweeps.store.paths import SweepPaths
from sweeps.stored import StoredSweep

SHORT_NAMES = {"accuracy": "val_accuracy", "loss": "val_loss"}
"""Short names of metrics in the bounds of the command line."""


def parse_bound(text: str, operator: str) -> Constraint:
    """Reads `accuracy=0.97`.

    Raises:
        SweepError: If it is not a metric, `=` and a number.
    """
    option = "--min" if operator == ">=" else "--max"
    match = re.fullmatch(r"\s*(\w+)\s*=\s*([^=]+)", text)
    try:
        metric, value = (match[1], float(match[2])) if match else ("", float("nan"))
    except ValueError:
        metric, value = "", float("nan")
    metric = SHORT_NAMES.get(metric, metric)
    if metric not in RANGES or not math.isfinite(value):
        raise SweepError(
            f"{option}: must be METRIC=NUMBER with a metric out of {', '.join(RANGES)}, but got {text!r}. "
            f"Write for example {option} {'accuracy=0.97' if operator == '>=' else 'remaining=0.05'}."
        )
    if metric in FRACTIONS and not 0 <= value <= 1:
        raise SweepError(f"{option}: {metric} is a fraction in [0, 1], but got {text!r}. 97 % is 0.97.")
    return Constraint(metric, operator, value)


def records(front: FrontRows) -> list[dict[str, Any]]:
    """Plain records: trial, epoch, the objectives, the estimate and the whole configuration."""
    metrics = dict.fromkeys(("remaining", *front.objectives))
    return [
        {
            "trial": row["trial"],
            "epoch": row["epoch"],
            "val_accuracy": row["val_accuracy"],
            "estimate": {"accuracy": row["estimate"], "standard_error": row["standard_error"]},
            **{name: row[name] for name in metrics},
            "config": {name: row[name] for name in CONFIG_COLUMNS},
        }
        for row in front.rows
    ]


def as_csv(front: FrontRows) -> str:
    """CSV with exact values: one column per metric and field, and the test accuracy."""
    metrics = dict.fromkeys(("estimate", "standard_error", "val_accuracy", "remaining", *front.metrics))
    text = io.StringIO()
    writer = csv.DictWriter(
        text, ["trial", "epoch", *metrics, *CONFIG_COLUMNS], lineterminator="\n", extrasaction="ignore"
    )
    writer.writeheader()
    writer.writerows(front.rows)
    return text.getvalue()


def table(front: FrontRows) -> FittingTable:
    """A table for a terminal: objectives, test accuracy, and the searched parameters."""
    shown = [front.cells(row) for row in front.rows]
    columns = [Column("network", [name_of(row) for row in front.rows])]
    for place, (name, heading) in enumerate(zip(front.columns, front.headings, strict=True)):
        rank = 2 if name == "val_accuracy" else int(name in front.parameters)
        columns.append(Column(heading, [cells[place] for cells in shown], rank=rank))
    return FittingTable(columns, title=f"front of {front.name}: {count(len(shown), 'network')}")


def is_drawn(paths: SweepPaths) -> bool:
    """Whether `front.png` is newer than all that it shows."""
    try:
        drawn = paths.front_png.stat().st_mtime_ns
        return all(path.stat().st_mtime_ns < drawn for path in _drawn_from(paths))
    except FileNotFoundError:  # not drawn yet, or a part has just been merged into another
        return False


def _drawn_from(paths: SweepPaths) -> list[Path]:
    return [paths.space, *paths.trials.glob("*.parquet"), *paths.epochs.glob("*.parquet")]


def draw(sweep: StoredSweep, networks: ArrowTable, trials: ArrowTable) -> None:
    """Draws the front of a sweep as `front.png`.

    Args:
        sweep: The sweep.
        networks: Its networks.
        trials: Its trials, running ones included.
    """
    from sweeps.figures import drawing, published  # matplotlib takes most of a second to import

    space = sweep.space
    recommended = recommend(networks, trials, space)
    figure = drawing.front_figure(
        networks,
        pareto.front_of(networks, space),
        space.objectives,
        title=f"{space.name}: {_title(space)}",
        subtitle=_subtitle(networks, trials),
        references=published.signed_supermask(published.kinds_of(trials)),
        recommended=_one(networks, recommended.key) if recommended else None,
    )
    drawing.save(figure, sweep.paths.front_png)


def _one(networks: ArrowTable, key: Key) -> ArrowTable:
    """The row of one network."""
    return rows(networks, (integers(networks, "trial") == key[0]) & (integers(networks, "epoch") == key[1]))


def _title(space: SearchSpace) -> str:
    if "remaining" in space.objectives and not {"val_accuracy", "test_accuracy"}.isdisjoint(space.objectives):
        return "accuracy against remaining weights"
    return ", ".join(name.replace("_", " ") for name in space.objectives)


def check_figure(path: Path, kind: str) -> Path:
    """Returns the path that `--png`, `--svg` or `--pdf` names.

    Raises:
        SweepError: If it ends otherwise, or its folder is missing.
    """
    if path.suffix != f".{kind}":
        raise SweepError(
            f"--{kind} {path}: must end in .{kind}, but does not. Rename it: {path.with_suffix(f'.{kind}')}."
        )
    if not path.parent.is_dir():
        raise SweepError(f"--{kind} {path}: must be in a folder that exists, but {path.parent} does not. Create it.")
    return path


def draw_for_paper(
    path: Path, space: SearchSpace, networks: ArrowTable, members: ArrowTable, *, trials: ArrowTable
) -> None:
    """Writes a figure as wide as a column, as PNG, SVG or PDF by the suffix of its path.

    Raises:
        SweepError: If the file cannot be written.
    """
    from sweeps.figures import drawing, paper, published

    references = published.signed_supermask(published.kinds_of(trials))
    figure = paper.front_figure(networks, members, space.objectives, references=references)
    try:
        drawing.save(figure, path)
    except OSError as error:
        raise SweepError(f"writing {path} failed: {error.strerror}. Choose another place.") from error


def _subtitle(networks: ArrowTable, trials: ArrowTable) -> str:
    if not networks.num_rows:
        return ""
    number = count(len(np.unique(integers(networks, "trial"))), "trial")
    held_out = set(trials.column("validation_fraction").to_pylist())
    of_all = f" of {100 * held_out.pop():g} % of the training set" if len(held_out) == 1 else ""
    return f"{count(networks.num_rows, 'network')}: {number} after each epoch; validation part{of_all}, estimates"
