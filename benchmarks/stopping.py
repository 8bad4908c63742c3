"""Hypervolume against epochs spent, with and without early stopping, for several samplers, on handwritten digits.

The sweeps run in this process, pack after pack, by the study, rungs and packs that `sweeps run` uses. An epoch counts
for each lane that trains it. All methods get the same number of epochs. What a sweep came to is kept in `--folder`: a
benchmark that was interrupted goes on from there.
"""

import json
import statistics
import sys
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import typer
from matplotlib.figure import Figure
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import record, script
from benchmarks.record import Row
from benchmarks.serial import Outcome, Sweep
from search_spaces.load import load
from search_spaces.space import Stopping
from supermask.data import load as data_of
from sweeps import pareto
from sweeps.store.paths import replacing

PEER, BEST = "tpe", "tpe + rungs"
METHODS: dict[str, tuple[str, Stopping | None]] = {
    "random": ("random", None),
    PEER: ("tpe", None),
    BEST: ("tpe", Stopping(eta=3, grace_epochs=3)),
    "nsga2 + rungs": ("nsga2", Stopping(eta=3, grace_epochs=3)),
}
_STYLES = {
    "random": ("#000000", ":"),
    PEER: ("#D55E00", "-."),
    BEST: ("#0072B2", "-"),
    "nsga2 + rungs": ("#009E73", "--"),
}
EPOCHS, LANES = 27, 8
err = Console(stderr=True, highlight=False)


def curve(outcome: Outcome, objectives: Mapping[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Epochs spent when each network was there, and the hypervolume from then on; both begin at 0."""
    table = pa.Table.from_pylist(outcome.networks).rename_columns({"spent": "ended"})
    found = pareto.hypervolume_history(table, objectives)
    return (
        np.concatenate([[0], found["ended"].to_numpy()]),
        np.concatenate([[0.0], found["hypervolume"].to_numpy()]),
    )


def reached(spent: np.ndarray, volume: np.ndarray, target: float) -> float:
    """Epochs spent when the hypervolume came to the target; infinite if it never did."""
    above = np.flatnonzero(volume >= target)
    return float(spent[above[0]]) if len(above) else float("inf")


def compare(curves: Mapping[str, list[tuple[np.ndarray, np.ndarray]]], budget: int) -> list[Row]:
    """Epochs that each method needed for what TPE without stopping came to in the end, sweep by sweep.

    A method that never comes there is counted with the whole budget; `missed` says how often that was.
    """
    rows = list[Row]()
    goals = [float(volume[-1]) for _, volume in curves[PEER]]
    theirs = [reached(*their, goal) for their, goal in zip(curves[PEER], goals, strict=True)]
    for method, own in curves.items():
        if method != PEER:
            needed = [reached(*each, goal) for each, goal in zip(own, goals, strict=True)]
            missed, capped = sum(map(np.isinf, needed)), [min(count, float(budget)) for count in needed]
            case = f"epochs for the hypervolume of {PEER}: {method}"
            rows.append(
                record.compare(case, capped, peer=theirs, lower_is_better=True, unit="epochs", missed=int(missed))
            )
            case = f"hypervolume after {budget} epochs: {method}"
            rows.append(record.compare(case, [float(volume[-1]) for _, volume in own], peer=goals))
    return rows


def draw(curves: Mapping[str, list[tuple[np.ndarray, np.ndarray]]], budget: int) -> Figure:
    """Hypervolume over epochs spent: median and range of the sweeps."""
    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = figure.subplots()
    grid = np.arange(budget + 1)
    lowest = 1.0
    for method, found in curves.items():
        values = np.stack([volume[np.searchsorted(spent, grid, side="right") - 1] for spent, volume in found])
        colour, dashes = _STYLES[method]
        middle = np.median(values, axis=0)
        lowest = min(lowest, float(middle[budget // 10]))
        axes.step(grid, middle, where="post", color=colour, linestyle=dashes, label=method)
        axes.fill_between(grid, values.min(axis=0), values.max(axis=0), step="post", color=colour, alpha=0.12, lw=0)
    axes.set(xlim=(0, budget), ylim=(lowest - 0.02, 1.0))
    axes.set_xlabel("epochs spent, over all trials")
    axes.set_ylabel("hypervolume of accuracy and remaining weights")
    axes.set_title(f"FCN on digits, {EPOCHS} epochs a trial, {len(curves[PEER])} sweeps each", loc="left")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    return figure


def main(
    *,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the record here, and a picture.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few trials, once.")] = False,
    folder: Annotated[Path | None, typer.Option(help="Keep what was measured here, and go on from it.")] = None,
) -> None:
    """Prints how many epochs each method needs for the hypervolume of TPE without stopping."""
    file = record.REPOSITORY / "search_spaces" / "fcn_digits.yaml"
    space = load(file, overrides={"fixed.epochs": EPOCHS})
    data, budget, repeats = data_of("digits"), (16 if quick else 80) * EPOCHS, 1 if quick else 5
    curves: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {method: [] for method in METHODS}
    for seed, (method, (sampler, stopping)) in product(range(repeats), METHODS.items()):
        settings = replace(space, sampler=replace(space.sampler, name=sampler, seed=seed), stopping=stopping)
        kept = folder and folder / f"{method.replace(' ', '')}-{budget}-{seed}.json"
        if kept and kept.exists():
            spent, volume = map(np.array, json.loads(kept.read_text(encoding="utf-8")))
        else:
            outcome = Sweep(settings, data, lanes=LANES).run(budget)
            spent, volume = curve(outcome, space.objectives)
            ended = f"{outcome.trials} trials, {len(outcome.networks)} networks"
            err.print(f"{seed + 1}/{repeats} {method}: {ended}, hypervolume {volume[-1]:.4f}")
            if kept:
                kept.parent.mkdir(parents=True, exist_ok=True)
                with replacing(kept) as temporary:
                    temporary.write_text(json.dumps([spent.tolist(), volume.tolist()]), encoding="utf-8")
        curves[method].append((spent, volume))
    rows = compare(curves, budget)
    if json_file:
        record.write(json_file, rows)
        draw(curves, budget).savefig(json_file.with_suffix(".png"))
    Console().print(record.table(rows, never=lambda row: str(row.get("missed", ""))))
    goals = statistics.median(float(volume[-1]) for _, volume in curves[PEER])
    err.print(f"{PEER} came to {goals:.4f} in {budget} epochs")


if __name__ == "__main__":
    script.start(main)
