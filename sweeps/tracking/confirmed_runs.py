"""Confirmations in MLflow: what networks reached with fresh seeds, in the runs of their trials."""

from collections.abc import Iterable, Mapping
from typing import Any

from sweeps.analysis.intervals import student_t
from sweeps.tracking.store import CONFIRM, Run, Store
from sweeps.tracking.trajectory import milliseconds

CONFIRMED_METRICS = ("test_accuracy", "remaining")
"""What fresh seeds of a network are judged by."""
CONFIRMED = "confirmed"
"""The tag of trials with confirmed networks: the epochs of these."""

Row = Mapping[str, Any]


def add_confirmations(store: Store, run: Run, networks: Mapping[int, Iterable[Row]]) -> bool:
    """Adds what fresh seeds of a trial's networks reached to its run; returns whether anything was to do.

    `confirm/EPOCH/test_accuracy` and `confirm/EPOCH/remaining` have one value per seed, at the step of its index. Their
    `_mean`, `_std`, `_low` and `_high` stand at the step of how many seeds they are of.

    Args:
        store: Of the run.
        run: Of an ended trial.
        networks: Rows of `sweeps.confirmations` by epoch.
    """
    stamp = max((_add(store, run, epoch, rows) for epoch, rows in networks.items()), default=0)
    if not run.new_metrics:
        return False
    names = [*run.latest, *(name for name, *_ in run.new_metrics)]
    epochs = {name.split("/")[1] for name in names if name.startswith(CONFIRM) and name.count("/") > 1}
    run.describe({CONFIRMED: ",".join(sorted(epochs, key=int))}, {})
    store.send(run, stamp)
    return True


def _add(store: Store, run: Run, epoch: int, rows: Iterable[Row]) -> int:
    """Takes what the run lacks of a network; returns when the last of its seeds ended, in milliseconds."""
    finished = [row for row in rows if row["state"] == "finished"]
    points: dict[tuple[str, int], float | None] = {}
    for metric in CONFIRMED_METRICS if finished else ():
        name = f"{CONFIRM}{epoch}/{metric}"
        points |= {(name, row["seed_index"]): row[metric] for row in finished}
        found = vars(student_t([row[metric] for row in finished]))
        points |= {(f"{name}_{part}", len(finished)): value for part, value in found.items()}
    known = {name for name, _ in points if name in run.latest}
    there = {(name, *point) for name in known for point in store.history(run.run_id, name)}
    stamp = max((milliseconds(row.get("ended"), 0) for row in finished), default=0)
    for (name, step), value in points.items():
        if value is not None and (name, step, value) not in there:
            run.new_metrics.append((name, value, stamp, step))
    return stamp
