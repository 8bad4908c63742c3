"""Whether estimates hold: the front of a sweep, confirmed with fresh seeds, beside the front of raw accuracies.

Runs a sweep on the digits and one of a narrow FCN on MNIST, confirms all networks of both fronts with fresh seeds on
validation part and test set, and prints by how much the fronts promised more than the seeds reach, in points of
accuracy, and how many of the seeds lie in the stated 90 % interval.
"""

import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import record, script
from benchmarks.record import Row
from sweeps import Sweep, pareto
from sweeps.analysis.confirmed import by_network
from sweeps.estimate import fresh_interval
from sweeps.objectives import Key, network_name
from sweeps.pareto import Table

err = Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class Case:
    """A sweep to confirm."""

    name: str
    space: str
    trials: int
    changes: tuple[str, ...] = ()


CASES = (
    Case("digits", "fcn_digits", 240, ("sampler.name=random",)),
    Case("MNIST", "fcn_mnist", 40, ("sampler.name=random", "fixed.epochs=16", "fixed.width=0.3")),
)
QUICK = (Case("digits", "fcn_digits", 8, ("sampler.name=random", "fixed.epochs=6")),)


@dataclass(frozen=True)
class Promise:
    """What a front said of one network."""

    key: Key
    accuracy: float
    standard_error: float


def main(
    json: Annotated[Path | None, typer.Option(help="Write the record here.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A short sweep on the digits, three seeds.")] = False,
    data: Annotated[str | None, typer.Option(help="Folder of datasets [env SUPERMASK_DATA].")] = None,
    seeds: Annotated[int, typer.Option(help="Fresh seeds of each network.")] = 10,
    only: Annotated[str | None, typer.Option(help="One case.")] = None,
) -> None:
    """Prints how far estimates, and raw accuracies, are from what fresh seeds reach."""
    cases = QUICK if quick else [case for case in CASES if only in (None, case.name)]
    rows = [row for case in cases for row in measure(case, data, seeds=3 if quick else seeds)]
    if json:
        record.write(json, rows)
    console = Console()
    console.print(record.table(rows))
    console.print("ours: front of estimates; peer: front of raw accuracies; n: networks", highlight=False)


def measure(case: Case, data: str | None, *, seeds: int) -> list[Row]:
    """The rows of one sweep."""
    with tempfile.TemporaryDirectory() as root:
        sweep = Sweep.create(case.space, name="sweep", root=root, changes=case.changes)
        sweep.run(case.trials, console=err, in_process=True, data=data)
        judged, raw = fronts(sweep)
        keys = dict.fromkeys(one.key for one in (*judged, *raw))
        err.print(f"{case.name}: {len(judged)} networks by estimates, {len(raw)} by raw accuracies, {len(keys)} in all")
        selection = ",".join(map(network_name, keys))
        sweep.confirm(selection, seeds=seeds, console=err, in_process=True, data=data)
        reached = by_network(sweep.confirmations().to_pylist())
    found = {
        key: [(row["val_accuracy"], row["test_accuracy"]) for row in rows if row["state"] == "finished"]
        for key, rows in reached.items()
    }
    return list(compare(case.name, judged, raw, {key: np.array(values) for key, values in found.items()}))


def fronts(sweep: Sweep) -> tuple[list[Promise], list[Promise]]:
    """The front by estimates, and that by raw accuracies."""
    networks = sweep.networks()
    judged = pareto.front_of(networks, sweep.space)
    raw = pareto.front_of(networks.drop_columns(["estimate"]), sweep.space)
    return _promises(judged, "estimate"), _promises(raw, "val_accuracy")


def _promises(front: Table, column: str) -> list[Promise]:
    return [Promise((row["trial"], row["epoch"]), row[column], row["standard_error"]) for row in front.to_pylist()]


def compare(name: str, judged: Sequence[Promise], raw: Sequence[Promise], reached: dict[Key, np.ndarray]) -> list[Row]:
    """Rows of differences in points, and of coverage in percent.

    Args:
        name: Of the sweep.
        judged: The front by estimates.
        raw: The front by raw accuracies.
        reached: Accuracies on validation part and test set, of shape [seed, 2], of every network.
    """
    rows = list[Row]()
    for place, part in enumerate(("validation", "test")):
        ours, theirs = (
            [100 * (one.accuracy - float(reached[one.key][:, place].mean())) for one in side] for side in (judged, raw)
        )
        rows.append(_means(f"{name}: promised less reached on {part} (points)", ours, theirs))
    ours, theirs = ([100 * _covered(one, reached[one.key][:, 0]) for one in side] for side in (judged, raw))
    rows.append(_means(f"{name}: fresh seeds in their 90 % interval (%)", ours, theirs))
    return rows


def _covered(one: Promise, accuracies: np.ndarray) -> float:
    low, high = fresh_interval(one.accuracy, one.standard_error)
    return float(((accuracies >= low) & (accuracies <= high)).mean())


def _means(case: str, ours: Sequence[float], theirs: Sequence[float]) -> Row:
    """A row of means; in place of the ratio's range stands that of the mean, by its standard error."""
    mean, other = float(np.mean(ours)), float(np.mean(theirs))
    error = float(np.std(ours, ddof=1)) / math.sqrt(len(ours)) if len(ours) > 1 else 0.0
    row = {"case": case, "ours": mean, "peer": other, "ratio": None, "n": len(ours)}
    return row | {"low": mean - error, "high": mean + error, "n_peer": len(theirs)}


if __name__ == "__main__":
    script.start(main)
