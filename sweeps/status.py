"""How far a sweep is, from its files alone: works while a driver runs, and on another machine."""

from collections import Counter
from typing import Any

from rich import box
from rich.table import Table

from sweeps import pareto, results
from sweeps.display import duration
from sweeps.heartbeat import read_session
from sweeps.paths import SweepPaths

STATES = ("asked", "finished", "stopped", "failed", "running", "waiting")


def status(paths: SweepPaths, objectives: dict[str, str]) -> dict[str, Any]:
    """Name, state, trials by state, hypervolume of the front and seconds of all sessions.

    Ended trials are counted in Parquet. What else was asked is running while the driver lives, and waits after it.

    Raises:
        SweepError: If there is no such sweep.
    """
    trials = results.load(paths.root, paths.name)
    session = read_session(paths)
    told = session["trials"]
    ended = Counter(trials.column("state").to_pylist())
    asked = max(told.get("asked", 0), sum(ended.values()))
    # The session file is up to a second older than Parquet.
    running = min(told.get("running", 0), asked - sum(ended.values())) if session["state"] == "running" else 0
    counts = {
        "asked": asked,
        **{state: ended[state] for state in ("finished", "stopped", "failed")},
        "running": running,
        "waiting": asked - sum(ended.values()) - running,
    }
    return {
        "name": paths.name,
        "state": session["state"],
        "trials": counts,
        "hypervolume": pareto.hypervolume(trials, objectives),
        "seconds": session["seconds"],
    }


def table(rows: list[dict[str, Any]]) -> Table:
    """Sweeps for a terminal, one a line."""
    shown = Table(header_style="bold", box=box.SIMPLE_HEAD)
    for column in ("sweep", "state", *STATES, "hyper volume", "time"):
        shown.add_column(column, justify="left" if column in ("sweep", "state") else "right")
    for row in rows:
        counts = [str(row["trials"][state]) for state in STATES]
        shown.add_row(row["name"], row["state"], *counts, f"{row['hypervolume']:.4f}", duration(row["seconds"]))
    return shown
