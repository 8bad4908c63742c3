"""Confirmations in MLflow: what trials reached with fresh seeds, in the runs of these trials."""

from collections.abc import Iterable, Mapping
from typing import Any

from sweeps.analysis.intervals import student_t
from sweeps.tracking.store import CONFIRM, Run, Store
from sweeps.tracking.trajectory import milliseconds

CONFIRMED_METRICS = ("test_accuracy", "remaining")
"""What fresh seeds of a trial are judged by."""


def add_confirmations(store: Store, run: Run, rows: Iterable[Mapping[str, Any]]) -> bool:
    """Adds what fresh seeds of a finished trial reached to its run; returns whether anything was to do.

    `confirm/test_accuracy` and `confirm/remaining` have one value per seed, at the step of its index. Their `_mean`,
    `_std`, `_low` and `_high` stand at the step of how many seeds they are of, as does the tag `confirmed`.
    """
    finished = [row for row in rows if row["state"] == "finished"]
    points: dict[tuple[str, int], float | None] = {}
    for metric in CONFIRMED_METRICS if finished else ():
        points |= {(f"{CONFIRM}{metric}", row["seed_index"]): row[metric] for row in finished}
        found = vars(student_t([row[metric] for row in finished]))
        points |= {(f"{CONFIRM}{metric}_{name}", len(finished)): value for name, value in found.items()}
    known = {name for name, _ in points if name in run.latest}
    there = {(name, *point) for name in known for point in store.history(run.run_id, name)}
    stamp = max((milliseconds(row.get("ended"), 0) for row in finished), default=0)
    for (name, step), value in points.items():
        if value is not None and (name, step, value) not in there:
            run.new_metrics.append((name, value, stamp, step))
    if not run.new_metrics:
        return False
    run.describe({"confirmed": str(len(finished))}, {})
    store.send(run, stamp)
    return True
