"""Whether estimates hold: fronts of sweeps, confirmed with fresh seeds, beside those of raw accuracies.

Runs sweeps on the digits and of a narrow FCN on MNIST, confirms all networks of both fronts with fresh seeds on
validation part and test set, and prints by how much the fronts promised more than the seeds reach, in points of
accuracy, and how many of the seeds lie in the stated 90 % interval. The estimator was chosen on sweeps of sampler
seed 0; these have others.
"""

import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

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

err = Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class Case:
    """Sweeps to confirm, which differ in the sampler's seed."""

    name: str
    space: str
    trials: int
    changes: tuple[str, ...] = ()
    sampler_seeds: tuple[int, ...] = (1, 2)


CASES = (
    Case("digits", "fcn_digits", 240, ("sampler.name=random",)),
    Case("MNIST", "fcn_mnist", 40, ("sampler.name=random", "fixed.epochs=16", "fixed.width=0.3"), sampler_seeds=(1,)),
)
QUICK = (Case("digits", "fcn_digits", 8, ("sampler.name=random", "fixed.epochs=6"), sampler_seeds=(1,)),)


@dataclass(frozen=True)
class Promise:
    """What a front said of one network, and what that reached.

    Attributes:
        accuracy: Said of the network.
        standard_error: Said of it.
        reached: Accuracies on validation part and test set, of shape [seed, 2].
    """

    accuracy: float
    standard_error: float
    reached: np.ndarray


def main(
    *,
    json: Annotated[Path | None, typer.Option(help="Write the record here.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A short sweep on the digits, three seeds.")] = False,
    data: Annotated[str | None, typer.Option(help="Folder of datasets [env SUPERMASK_DATA].")] = None,
    seeds: Annotated[int, typer.Option(help="Fresh seeds of each network.")] = 10,
    only: Annotated[str | None, typer.Option(help="One case.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Keep the sweeps here, and go on with those that are.")] = None,
) -> None:
    """Prints how far estimates, and raw accuracies, are from what fresh seeds reach."""
    cases = QUICK if quick else [case for case in CASES if only in (None, case.name)]
    console = Console()
    rows = list[Row]()
    with tempfile.TemporaryDirectory() as scratch:
        for case in cases:
            found = measure(case, folder or Path(scratch), data, seeds=3 if quick else seeds)
            console.print(record.table(found, standard_error=lambda row: f"{row['standard_error']:.2g}"))
            rows += found
    console.print("ours: mean over n networks", highlight=False)
    if json:
        record.write(json, rows)


def measure(case: Case, folder: Path, data: str | None, *, seeds: int) -> list[Row]:
    """The rows of one case, over the fronts of all its sweeps."""
    judged, raw = list[Promise](), list[Promise]()
    for seed in case.sampler_seeds:
        ours, theirs = confirmed(sweep_of(case, folder, seed), case.trials, data, seeds=seeds)
        judged += ours
        raw += theirs
    return list(compare(case.name, judged, raw))


def sweep_of(case: Case, folder: Path, sampler_seed: int) -> Sweep:
    """One sweep of a case, new or as it was left."""
    root = folder / f"{case.name}-{sampler_seed}"
    if (root / "sweep").exists():
        return Sweep.open("sweep", root=root)
    return Sweep.create(case.space, name="sweep", root=root, changes=(*case.changes, f"sampler.seed={sampler_seed}"))


def confirmed(sweep: Sweep, trials: int, data: str | None, *, seeds: int) -> tuple[list[Promise], list[Promise]]:
    """The front by estimates of one sweep, and that by raw accuracies, each network with what it reached."""
    sweep.run(trials, console=err, in_process=True, data=data)
    networks = sweep.networks()
    judged = pareto.front_of(networks, sweep.space).to_pylist()
    raw = pareto.front_of(networks.drop_columns(["estimate"]), sweep.space).to_pylist()
    keys = dict.fromkeys((row["trial"], row["epoch"]) for row in (*judged, *raw))
    err.print(f"{len(judged)} networks by estimates, {len(raw)} by raw accuracies, {len(keys)} in all")
    sweep.confirm(",".join(map(network_name, keys)), seeds=seeds, console=err, in_process=True, data=data)
    reached = by_network(sweep.confirmations().to_pylist())
    return _promises(judged, "estimate", reached), _promises(raw, "val_accuracy", reached)


def _promises(
    front: Sequence[Mapping[str, Any]], column: str, reached: Mapping[Key, Sequence[Mapping[str, Any]]]
) -> list[Promise]:
    promises = list[Promise]()
    for row in front:
        ended = [one for one in reached[row["trial"], row["epoch"]] if one["state"] == "finished"]
        values = np.array([(one["val_accuracy"], one["test_accuracy"]) for one in ended])
        promises.append(Promise(row[column], row["standard_error"], values))
    return promises


def compare(name: str, judged: Sequence[Promise], raw: Sequence[Promise]) -> list[Row]:
    """Rows of differences in points, and of coverage in percent.

    Args:
        name: Of the case.
        judged: Fronts by estimates.
        raw: Fronts by raw accuracies.
    """
    rows = list[Row]()
    for front, side in (("estimates", judged), ("raw accuracies", raw)):
        for place, part in enumerate(("validation", "test")):
            differences = [100 * (one.accuracy - float(one.reached[:, place].mean())) for one in side]
            rows.append(mean(f"{name}, front of {front}: promised less reached on {part} (points)", differences))
        covered = [100 * _covered(one) for one in side]
        rows.append(mean(f"{name}, front of {front}: fresh seeds in the 90 % interval (%)", covered))
    return rows


def _covered(one: Promise) -> float:
    low, high = fresh_interval(one.accuracy, one.standard_error)
    return float(((one.reached[:, 0] >= low) & (one.reached[:, 0] <= high)).mean())


def mean(case: str, values: Sequence[float]) -> Row:
    """A row of a mean over networks, with its standard error."""
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return record.alone(case, values, standard_error=error) | {"ours": float(np.mean(values))}


if __name__ == "__main__":
    script.start(main)
