"""How long it takes to judge a sweep of many trials: the command as a whole process, and each function of the analysis.

Every trial is as many networks as it has epochs. The peers do what a user without this project would do on the same
rows: a front by comparing each network with all others in numpy, after pandas has read the file; a bootstrap that
computes the hypervolume of every resample from all its networks. That front takes minutes of 100,000 trials, so both
sides get fewer, and the row says how many. Whole processes start Python; files come from the page cache.
"""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import typer
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import record, script, synthetic
from benchmarks.record import Row
from search_spaces.load import load
from search_spaces.space import SearchSpace
from sweeps import confirmations, networks, pareto, results
from sweeps.analysis import comparison, effects, importance, recommendation
from sweeps.store.paths import SweepPaths

err = Console(stderr=True, highlight=False)
_PEER_PROGRAM = """
import sys, numpy, pandas
rows = pandas.read_parquet(sys.argv[1])
rows = rows[rows.estimate >= 0.9]
accuracy, remaining = rows.estimate.to_numpy(), rows.remaining.to_numpy()
def beaten(a, r):
    return ((accuracy >= a) & (remaining <= r) & ((accuracy > a) | (remaining < r))).any()
front = [not beaten(a, r) for a, r in zip(accuracy, remaining)]
print(rows[front].sort_values("estimate")[["trial", "epoch", "estimate", "val_accuracy", "remaining"]].to_string())
"""


def seconds(action: Callable[[], Any]) -> float:
    """How long an action takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def versus(case: str, ours: Callable[[], Any], peer: Callable[[], Any], repeats: int, **extra: Any) -> Row:
    """Both sides in turn."""
    pairs = [(seconds(ours), seconds(peer)) for _ in range(repeats)]
    err.print(f"{case}: ours {pairs[-1][0]:.2f} s, peer {pairs[-1][1]:.2f} s")
    own, theirs = zip(*pairs, strict=True)
    return record.compare(case, own, peer=theirs, lower_is_better=True, unit="seconds", **extra)


def alone(case: str, ours: Callable[[], Any], repeats: int) -> Row:
    """A function without a peer."""
    started = children_seconds()
    own = [seconds(ours) for _ in range(repeats)]
    processor = (children_seconds() - started) / repeats
    err.print(f"{case}: {own[-1]:.2f} s" + (f", {processor:.2f} s of a core" if processor else ""))
    extra = {"cpu_seconds": processor} if processor else {}
    return record.alone(case, own, unit="seconds", **extra)


def children_seconds() -> float:
    """Time of a core that ended child processes took: says more than the clock where others use the cores, too."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def processes(large: SweepPaths, small: SweepPaths, counts: tuple[int, int], repeats: int) -> list[Row]:
    """The command from its start to its end, with and without its picture, and on fewer trials against a peer."""
    (part,) = small.epochs.glob("*.parquet")

    def command(paths: SweepPaths) -> None:
        words = [sys.executable, "-m", "sweeps", "pareto", paths.name, "--root", str(paths.root)]
        subprocess.run(words, cwd=record.REPOSITORY, check=True, capture_output=True)

    def drawing() -> None:
        large.front_png.unlink(missing_ok=True)
        command(large)

    def peer() -> None:
        subprocess.run([sys.executable, "-c", _PEER_PROGRAM, str(part)], check=True, capture_output=True)

    command(small)
    what = "pandas and a front by comparing all with all"
    return [
        alone(f"sweeps pareto with its picture, {counts[0]} trials", drawing, repeats),
        alone(f"sweeps pareto, {counts[0]} trials", lambda: command(large), repeats),
        versus(f"sweeps pareto, {counts[1]} trials", lambda: command(small), peer, repeats, peer_is=what),
    ]


def functions(paths: SweepPaths, space: SearchSpace, trials: int, repeats: int) -> list[Row]:
    """Every function of the analysis on tables that are read already."""
    root, name = paths.root, paths.name
    (part,) = paths.trials.glob("*.parquet")
    table, found = results.load(root, name), networks.load(root, name)
    half = found.filter(pc.field("trial") < trials // 2)
    best = networks.with_trials(pareto.best_of_trials(found, space.objectives), table)
    confirmed = confirmations.load(paths.confirm)
    frame = best.to_pandas()
    objectives = space.objectives
    shown = list(space.objectives)

    def bins() -> Any:
        cut = pd.qcut(frame["pruning_rate"], 8)
        return frame.groupby(cut, observed=True)["val_accuracy"].agg(["mean", "sem"])

    cases: dict[str, Callable[[], Any]] = {
        "reading the networks": lambda: networks.load(root, name),
        "reading those that can be on a front": lambda: networks.candidates(paths, space),
        "best network of each trial": lambda: pareto.best_of_trials(found, objectives),
        "front": lambda: pareto.front(found, objectives),
        "hypervolume": lambda: pareto.hypervolume(found, objectives),
        "hypervolume history": lambda: pareto.hypervolume_history(found, objectives),
        "importance, three targets": lambda: importance.importance(best, space),
        "comparison, 1000 resamples": lambda: comparison.compare(found, half, objectives),
        "recommendation": lambda: recommendation.recommend(found, table, space, confirmed),
    }
    return [
        versus(
            f"reading all columns, {trials} trials",
            lambda: results.load(root, name),
            lambda: pd.read_parquet(part),
            repeats,
            peer_is="pandas.read_parquet",
        ),
        versus(
            f"reading the objectives, {trials} trials",
            lambda: results.load(root, name, columns={"state", *shown}),
            lambda: pd.read_parquet(part, columns=["trial", "attempt", "state", *shown]),
            repeats,
            peer_is="pandas.read_parquet of the same columns",
        ),
        versus(
            f"effect of the pruning rate, {trials} trials",
            lambda: effects.effect(best, "pruning_rate", "val_accuracy", space=space),
            bins,
            repeats,
            peer_is="pandas' qcut and groupby",
        ),
        *(alone(f"{case}, {trials} trials", action, repeats) for case, action in cases.items()),
    ]


def bootstrap(paths: SweepPaths, space: SearchSpace, trials: int, repeats: int) -> Row:
    """A hundred resamples, against the hypervolume of every resample of all trials."""
    table = networks.load(paths.root, paths.name)
    starts = np.flatnonzero(np.diff(table.column("trial").to_numpy(), prepend=-1))
    places = np.split(np.arange(table.num_rows), starts[1:])

    def peer() -> None:
        generator = np.random.default_rng(0)
        for _ in range(100):
            drawn = generator.integers(len(places), size=len(places)).tolist()
            pareto.hypervolume(table.take(np.concatenate([places[one] for one in drawn])), space.objectives)

    def ours() -> None:
        pareto.resampled_hypervolumes(table, space.objectives, 100, generator=np.random.default_rng(0))

    return versus(f"100 resamples, {trials} trials", ours, peer, repeats, peer_is="moocore on every resample")


def main(
    json: Annotated[Path | None, typer.Option(help="Write the record here.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A small sweep, once.")] = False,
) -> None:
    """Prints seconds of the command and of each function."""
    trials, fewer, repeats = (2000, 1000, 1) if quick else (100_000, 5_000, 5)
    with tempfile.TemporaryDirectory(prefix="analysis-") as folder:
        paths = synthetic.write(folder, "made_up", trials=trials, epochs=6, stopping=False)
        small = synthetic.write(folder, "smaller", trials=fewer, epochs=6, stopping=False)
        space = load(paths.space)
        rows = [
            *processes(paths, small, (trials, fewer), repeats),
            *functions(paths, space, trials, repeats),
            bootstrap(paths, space, trials, repeats),
        ]
    if json:
        record.write(json, rows)
    Console().print(record.table(rows, unit=lambda row: row["unit"]))


if __name__ == "__main__":
    script.start(main)
