"""Trials per hour of a whole sweep, as it is started from the command line, against the stock stack.

Every side samples the same space with trials of the same epochs, on all cores, from an empty folder, for the same wall
time; then it is interrupted. Its rate is the number of trials that ended over the time from its start to the last of
these ends: what starts, compiles and samples counts. The sides are `sweeps run`, the same with early stopping, and
`stock.py` as documented and tuned by hand. What a run came to is kept in `--folder`: a benchmark that was interrupted
goes on from there.
"""

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import typer
from matplotlib.figure import Figure
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import record, script
from benchmarks.record import Row
from benchmarks.stock import ENDS
from search_spaces.load import load
from sweeps import pareto, results

OURS, STOPPING, DOCUMENTED, TUNED = "this project", "with stopping", "stock, as documented", "stock, tuned by hand"
SIDES = (OURS, STOPPING, DOCUMENTED, TUNED)
_COLOURS = {OURS: "#0072B2", STOPPING: "#009E73", DOCUMENTED: "#000000", TUNED: "#D55E00"}
_DASHES = {OURS: "-", STOPPING: "--", DOCUMENTED: ":", TUNED: "-."}
_PATIENCE = 90.0
"""Seconds that a side has to end after its interrupt."""
err = Console(stderr=True, highlight=False)


def command(side: str, space: Path, root: Path, *, epochs: int, seed: int, data: Path | None) -> list[str]:
    """What a user would type."""
    more = ["--data", str(data)] if data else []
    if side in (DOCUMENTED, TUNED):
        script_file = str(Path(__file__).with_name("stock.py"))
        more += ["--tuned"] if side == TUNED else []
        return [sys.executable, script_file, str(space), "--root", str(root), "--epochs", str(epochs), *more]
    stopping = ["--set", "stopping.eta=3", "--set", "stopping.grace_epochs=1"] if side == STOPPING else []
    sweeps = str(Path(sys.executable).with_name("sweeps"))
    named = [sweeps, "run", str(space), "--name", "ours", "--root", str(root), "--seed", str(seed)]
    return [*named, "--lanes", "8", "--trials", "100000", "--set", f"fixed.epochs={epochs}", *stopping, *more]


def run(side: str, space: Path, *, seconds: float, epochs: int, seed: int, data: Path | None) -> list[Row]:
    """Lets one side work for so long.

    Returns:
        A row for each trial that ended: `ended` in seconds after the start, `state`, and its objectives.

    Raises:
        typer.Exit: If a side ended by itself, or nothing ended in time.
    """
    with tempfile.TemporaryDirectory(prefix="sweep-", ignore_cleanup_errors=True) as folder:
        root, log = Path(folder) / "root", Path(folder) / "log"
        with log.open("wb") as output:
            began = time.time()
            process = subprocess.Popen(
                command(side, space, root, epochs=epochs, seed=seed, data=data), stdout=output, stderr=output
            )
            try:
                code = process.wait(seconds)
            except subprocess.TimeoutExpired:
                code = None
            end(process)
        rows = [row for row in ends(side, root) if row["ended"] <= began + seconds]
        if code is not None or not rows:
            err.print(f"{side}: must have trials that end within {seconds:g} s, and go on. Its output:", markup=False)
            err.print(log.read_text(errors="replace")[-3000:], markup=False)
            raise typer.Exit(1)
    return [row | {"ended": row["ended"] - began} for row in sorted(rows, key=lambda row: row["ended"])]


def end(process: subprocess.Popen[bytes]) -> None:
    """Interrupts a side, and kills it if it does not end."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def ends(side: str, root: Path) -> list[Row]:
    """The trials that ended, with times in seconds since 1970."""
    if side in (DOCUMENTED, TUNED):
        file = root / ENDS
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        return [json.loads(line) | {"state": "finished"} for line in lines]
    table = results.load(root, "ours").select(["state", "ended", "val_accuracy", "remaining"])
    rows = [row for row in table.to_pylist() if row["state"] in ("finished", "stopped")]
    return [row | {"ended": row["ended"].timestamp()} for row in rows]


def rate(rows: Sequence[Row]) -> float:
    """Trials per hour."""
    return 3600 * len(rows) / rows[-1]["ended"]


def volumes(rows: Sequence[Row], objectives: Mapping[str, str], times: np.ndarray) -> np.ndarray:
    """The hypervolume of the trials that had finished by each time."""
    whole = [row for row in rows if row["state"] == "finished"]
    columns: dict[str, Any] = {name: [row[name] for row in whole] for name in ("state", *objectives)}
    columns["ended"] = [datetime.fromtimestamp(row["ended"], UTC) for row in whole]
    history = pareto.hypervolume_history(pa.table({"trial": range(len(whole))} | columns), objectives)
    ended = np.array([row["ended"] for row in whole])
    reached = np.concatenate([[0.0], history["hypervolume"].to_numpy()])
    return reached[np.searchsorted(ended, times, side="right")]


def draw(curves: Mapping[str, np.ndarray], times: np.ndarray, title: str) -> Figure:
    """Hypervolume over wall time: median and range of the repetitions (one row each)."""
    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = figure.subplots()
    for side, values in curves.items():
        middle, colour = np.median(values, axis=0), _COLOURS[side]
        axes.step(times, middle, where="post", color=colour, linestyle=_DASHES[side], label=side)
        axes.fill_between(times, values.min(axis=0), values.max(axis=0), step="post", color=colour, alpha=0.15, lw=0)
    axes.set_ylim(0, 1)
    axes.set_xlim(0, times[-1])
    axes.set_xlabel("seconds since the command was started")
    axes.set_ylabel("hypervolume of accuracy and remaining weights")
    axes.set_title(title, loc="left")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    return figure


def compare(runs: Mapping[str, Sequence[Sequence[Row]]], objectives: Mapping[str, str], seconds: float) -> list[Row]:
    """The rows of the record."""
    rates = {side: [rate(rows) for rows in repeated] for side, repeated in runs.items()}
    last = np.array([seconds])
    final = {side: [float(volumes(rows, objectives, last)[0]) for rows in runs[side]] for side in runs}
    pairs = ((OURS, DOCUMENTED), (OURS, TUNED), (STOPPING, OURS), (STOPPING, DOCUMENTED), (STOPPING, TUNED))
    rows = [
        record.compare(f"trials per hour: {own}, against {peer}", rates[own], peer=rates[peer], unit="1/h")
        for own, peer in pairs
    ]
    return rows + [
        record.compare(f"hypervolume after {seconds:g} s: {own}, against {TUNED}", final[own], peer=final[TUNED])
        for own in (OURS, STOPPING)
    ]


def main(
    *,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the record here, and a picture.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Digits instead of MNIST, short, once.")] = False,
    folder: Annotated[Path | None, typer.Option(help="Keep what was measured here, and go on from it.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Wall time of each side [120].", min=1)] = None,
    repeats: Annotated[int | None, typer.Option(help="Repetitions [5].", min=1)] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of datasets [env SUPERMASK_DATA].")] = None,
) -> None:
    """Prints trials per hour of `sweeps run` against the stock stack."""
    space = record.REPOSITORY / "search_spaces" / ("fcn_digits.yaml" if quick else "fcn_mnist.yaml")
    seconds, repeats, epochs = seconds or (30 if quick else 120), repeats or (1 if quick else 5), 10
    objectives = load(space).objectives
    runs: dict[str, list[list[Row]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as temporary:
        kept = folder or Path(temporary)
        kept.mkdir(parents=True, exist_ok=True)
        for repeat, side in product(range(repeats), SIDES):
            file = kept / f"{space.stem}-{seconds:g}s-{repeat}-{SIDES.index(side)}.json"
            if not file.exists():
                found = run(side, space, seconds=seconds, epochs=epochs, seed=repeat, data=data)
                file.write_text(json.dumps(found), encoding="utf-8")
            runs[side].append(json.loads(file.read_text(encoding="utf-8")))
            ended = runs[side][-1]
            err.print(f"{repeat + 1}/{repeats} {side}: {len(ended)} ended, {rate(ended):,.0f} an hour", markup=False)
    rows = compare(runs, objectives, seconds)
    if json_file:
        record.write(json_file, rows)
        times = np.linspace(0, seconds, 500)
        curves = {side: np.stack([volumes(rows, objectives, times) for rows in runs[side]]) for side in SIDES}
        title = f"{space.stem}, {epochs} epochs a trial, n = {repeats}"
        draw(curves, times, title).savefig(json_file.with_suffix(".png"))
    Console().print(record.table(rows))


if __name__ == "__main__":
    script.start(main)
