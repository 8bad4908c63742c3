"""Summaries of confirmed trials: means and intervals over fresh seeds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeps.analysis.intervals import LEVEL, Interval, student_t

Row = Mapping[str, Any]

SUMMARISED = ("trial", "dataset", "state", "reason", "test_accuracy", "remaining")
"""Columns of a confirmation that a summary reads."""
INTERVAL_NAME = f"{100 * LEVEL:g} % Student t interval"


@dataclass(frozen=True)
class Confirmed:
    """Summary of one confirmed trial.

    Attributes:
        trial: Its number.
        dataset: On what it was trained.
        seeds: How many finished: those that the intervals are of.
        failed: How many did not.
        reasons: Why these failed, each kind once.
        test_accuracy: Fraction of the test set classified correctly.
        remaining: Fraction of weights that are not hidden.
    """

    trial: int
    dataset: str
    seeds: int
    failed: int
    reasons: tuple[str, ...]
    test_accuracy: Interval
    remaining: Interval


def by_trial(rows: Iterable[Row]) -> dict[int, list[Row]]:
    """Groups rows of `sweeps.confirmations` by trial."""
    trials: dict[int, list[Row]] = {}
    for row in rows:
        trials.setdefault(row["trial"], []).append(row)
    return trials


def summarise(rows: Iterable[Row]) -> list[Confirmed]:
    """One summary per trial, best mean test accuracy first, trials without any finished seed last."""
    found = [_summary(trial, own) for trial, own in by_trial(rows).items()]
    return sorted(found, key=lambda one: (-(one.test_accuracy.mean or -1.0), one.trial))


def _summary(trial: int, rows: Sequence[Row]) -> Confirmed:
    finished = [row for row in rows if row["state"] == "finished"]
    failed = [row for row in rows if row["state"] != "finished"]
    return Confirmed(
        trial=trial,
        dataset=rows[0]["dataset"],
        seeds=len(finished),
        failed=len(failed),
        reasons=tuple(dict.fromkeys(str(row["reason"]).split(":")[0] for row in failed)),
        test_accuracy=student_t([row["test_accuracy"] for row in finished]),
        remaining=student_t([row["remaining"] for row in finished]),
    )
