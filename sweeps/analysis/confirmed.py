"""Summaries of confirmed networks: means and intervals over fresh seeds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeps.analysis.intervals import LEVEL, Interval, student_t
from sweeps.objectives import Key, network_name

Row = Mapping[str, Any]

SUMMARISED = ("trial", "epoch", "dataset", "state", "reason", "test_accuracy", "val_accuracy", "remaining")
"""Columns of a confirmation that a summary reads."""
INTERVAL_NAME = f"{100 * LEVEL:g} % Student t interval"


@dataclass(frozen=True)
class Confirmed:
    """Summary of one confirmed network.

    Attributes:
        key: Its trial and epoch.
        dataset: On what it was trained.
        seeds: How many finished: those that the intervals are of.
        failed: How many did not.
        reasons: Why these failed, each kind once.
        test_accuracy: Fraction of the test set classified correctly.
        val_accuracy: Fraction of the validation part classified correctly.
        remaining: Fraction of weights that are not hidden.
    """

    key: Key
    dataset: str
    seeds: int
    failed: int
    reasons: tuple[str, ...]
    test_accuracy: Interval
    val_accuracy: Interval
    remaining: Interval

    @property
    def name(self) -> str:
        """How the network is written: `TRIAL@EPOCH`."""
        return network_name(self.key)


def by_network(rows: Iterable[Row]) -> dict[Key, list[Row]]:
    """Groups rows of `sweeps.confirmations` by trial and epoch."""
    networks: dict[Key, list[Row]] = {}
    for row in rows:
        networks.setdefault((row["trial"], row["epoch"]), []).append(row)
    return networks


def summarise(rows: Iterable[Row]) -> list[Confirmed]:
    """One summary per network, best mean test accuracy first, networks without any finished seed last."""
    found = [_summary(key, own) for key, own in by_network(rows).items()]
    return sorted(found, key=lambda one: (-(one.test_accuracy.mean or -1.0), one.key))


def _summary(key: Key, rows: Sequence[Row]) -> Confirmed:
    finished = [row for row in rows if row["state"] == "finished"]
    failed = [row for row in rows if row["state"] != "finished"]
    return Confirmed(
        key=key,
        dataset=rows[0]["dataset"],
        seeds=len(finished),
        failed=len(failed),
        reasons=tuple(dict.fromkeys(str(row["reason"]).split(":")[0] for row in failed)),
        test_accuracy=student_t([row["test_accuracy"] for row in finished]),
        val_accuracy=student_t([row["val_accuracy"] for row in finished]),
        remaining=student_t([row["remaining"] for row in finished]),
    )
