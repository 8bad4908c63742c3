"""Status of a sweep, read from its files: works while a driver runs, and on another machine."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sweeps import pareto
from sweeps.display.fitting_table import Column, FittingTable
from sweeps.display.panel import duration
from sweeps.store.lease import read_session
from sweeps.stored import StoredSweep

STATES = ("asked", "finished", "stopped", "failed", "running", "waiting")
_RANKS = {"stopped": 3, "waiting": 2, "running": 1}
"""What a narrow terminal leaves out first."""


def status(sweep: StoredSweep) -> dict[str, Any]:
    """Name, state, trials by state, hypervolume of all networks and seconds of all sessions.

    The hypervolume leaves constraints aside, so it may be more than the shown front dominates.

    Ended trials are counted in Parquet. What else was asked is running while the driver lives, and waits after it.

    Raises:
        SweepError: If there is no such sweep.
    """
    trials, session = sweep.trials(), read_session(sweep.paths)
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
        "name": sweep.name,
        "state": session["state"],
        "trials": counts,
        "hypervolume": pareto.hypervolume(sweep.candidates(), sweep.objectives),
        "seconds": session["seconds"],
    }


def table(rows: Sequence[Mapping[str, Any]], budgets: Sequence[int]) -> FittingTable:
    """Sweeps for a terminal, one a line.

    Args:
        rows: From `status`.
        budgets: How many trials each of them is to have.
    """
    counts = [Column(state, [str(row["trials"][state]) for row in rows], rank=_RANKS.get(state, 0)) for state in STATES]
    return FittingTable(
        [
            Column("sweep", [row["name"] for row in rows], is_text=True),
            Column("state", [row["state"] for row in rows], is_text=True),
            Column("budget", list(map(str, budgets)), rank=4),
            *counts,
            Column("hyper volume", [f"{row['hypervolume']:.4f}" for row in rows]),
            Column("time", [duration(row["seconds"]) for row in rows]),
        ]
    )
