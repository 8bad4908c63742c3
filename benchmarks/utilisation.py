"""How full a device stays while trials are stopped: with lanes that are packed anew at rungs, and without.

A pack whose stopped lanes leave gets smaller and uses the device worse. Both sides are the same sweep, of the same
seed, in this process, pack after pack; the work of an epoch is its lanes, and the utilisation its lanes per second over
those of a full pack. Compiling is done before.
"""

import statistics
import sys
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from matplotlib.figure import Figure
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import record, script
from benchmarks.record import Row
from benchmarks.serial import Outcome, Sweep, warm_up
from benchmarks.workload import first
from search_spaces.load import load
from search_spaces.space import Stopping
from supermask.data import load as data_of
from sweeps.search.sampling import sample

WITH, WITHOUT = "packed anew at rungs", "packs that shrink"
EPOCHS = 9
err = Console(stderr=True, highlight=False)


def throughput(outcome: Outcome) -> float:
    """Lane-epochs per second of the whole sweep."""
    return outcome.spent / outcome.epochs[-1]["ended"]


def full_rate(outcomes: list[Outcome], lanes: int) -> float:
    """Lane-epochs per second of full packs."""
    epochs = [epoch for outcome in outcomes for epoch in outcome.epochs if epoch["lanes"] == lanes]
    return statistics.median(lanes / (epoch["ended"] - epoch["began"]) for epoch in epochs)


def over_time(outcome: Outcome, full: float, times: np.ndarray) -> np.ndarray:
    """Utilisation at each time, 0 between epochs and after the end."""
    found = np.zeros(len(times))
    for epoch in outcome.epochs:
        now = (times >= epoch["began"]) & (times < epoch["ended"])
        found[now] = epoch["lanes"] / (epoch["ended"] - epoch["began"]) / full
    return found


def draw(sides: Mapping[str, Outcome], full: float, lanes: int) -> Figure:
    """Utilisation over time of one sweep on each side, one above the other."""
    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = figure.subplots(2, 1, sharex=True, sharey=True)
    end = max(outcome.epochs[-1]["ended"] for outcome in sides.values())
    times = np.linspace(0, end, 2000)
    for plot, (side, outcome), colour in zip(axes, sides.items(), ("#0072B2", "#D55E00"), strict=True):
        share = throughput(outcome) / full
        plot.fill_between(times, 100 * over_time(outcome, full, times), step="mid", color=colour, alpha=0.5, lw=0)
        plot.axhline(100 * share, color="black", linestyle="--", linewidth=1)
        plot.set_title(f"{side}: {share:.0%} of a full pack's speed, {outcome.trials} trials", loc="left")
        plot.set_ylabel("utilisation (%)")
        plot.set_ylim(0, 130)
    axes[-1].set_xlabel(f"seconds; packs of {lanes} lanes")
    return figure


def main(
    *,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the record here, and a picture.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Digits instead of MNIST, few trials, once.")] = False,
    data: Annotated[Path | None, typer.Option(help="Folder of datasets [env SUPERMASK_DATA].")] = None,
) -> None:
    """Prints lane-epochs per second with and without packing anew."""
    name, lanes = ("fcn_digits", 4) if quick else ("fcn_mnist", 8)
    space = load(record.REPOSITORY / "search_spaces" / f"{name}.yaml", overrides={"fixed.epochs": EPOCHS})
    space = replace(space, stopping=Stopping(eta=3, grace_epochs=1), sampler=replace(space.sampler, name="random"))
    images = data_of(str(space.fixed["dataset"]), data)
    images = images if quick else first(images, 12_000)  # an epoch is short: many packs in little time
    warm_up(sample(space, lanes), images, compiled=not quick)
    found: dict[str, list[Outcome]] = {WITH: [], WITHOUT: []}
    for seed, side in product(range(1 if quick else 5), found):
        settings = replace(space, sampler=replace(space.sampler, seed=seed))
        sweep = Sweep(settings, images, lanes=lanes, repack=side == WITH)
        found[side].append(sweep.run(60 if quick else 400))
        err.print(f"{side}: {throughput(found[side][-1]):.1f} lane-epochs/s, {found[side][-1].trials} trials ended")
    full = full_rate([outcome for outcomes in found.values() for outcome in outcomes], lanes)
    rates = {side: [throughput(outcome) for outcome in outcomes] for side, outcomes in found.items()}
    shares = {side: statistics.median(values) / full for side, values in rates.items()}
    case = f"lane-epochs per second: {WITH}, against {WITHOUT}"
    extra = {"utilisation": shares[WITH], "utilisation_peer": shares[WITHOUT], "lanes": lanes}
    rows: list[Row] = [record.compare(case, rates[WITH], peer=rates[WITHOUT], unit="1/s", **extra)]
    if json_file:
        record.write(json_file, rows)
        draw({side: outcomes[0] for side, outcomes in found.items()}, full, lanes).savefig(
            json_file.with_suffix(".png")
        )
    Console().print(
        record.table(rows, utilisation=lambda row: f"{row['utilisation']:.0%}, {row['utilisation_peer']:.0%}")
    )


if __name__ == "__main__":
    script.start(main)
