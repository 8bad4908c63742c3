"""What the rows of a trial say together: the metrics of every step up to its last one."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sweeps.results import BEST
from sweeps.tracking import layer_metrics
from sweeps.tracking.backlog import News

EPOCH_METRICS = ("train_loss", "val_loss", "val_accuracy", "estimate", "standard_error", "remaining", "inverted")
FINAL_METRICS = (*EPOCH_METRICS, "test_loss", "test_accuracy", "epochs_done", "seconds")
"""What the run of an ended trial holds, named as in the results, beside those of its best network (`BEST`); those of
its layers are named by `layer_metrics`."""


class Trajectory:
    """One attempt of a trial, with the earlier epochs that it went on from.

    Attributes:
        trial: Its number.
        attempt: The attempt that its row is about; while it has none, the highest that has epochs.
        ended: Its row; None while it has not ended.
        last: The last step.
        metrics: Values by step, in order; those of the last one are the row's, once there is one.
        stamps: When each step was made, in milliseconds.

    Args:
        news: Its rows.
        now: Stamp of rows that have none.
        is_whole: Whether these are all of its rows. Then of a trial that has not ended, those after a missing epoch are
            left out: it may be read later.
    """

    def __init__(self, news: News, *, now: int, is_whole: bool = False) -> None:
        row = news.ended
        self.trial, self.ended = news.trial, row
        self.attempt: int = row["attempt"] if row else max((e["attempt"] for e in news.epochs), default=1)
        own = (e["epoch"] for e in news.epochs if e["attempt"] == self.attempt)
        self.last: int = (row["epochs_done"] or 0) if row else max(own, default=0)
        if is_whole and not row:
            missing = set(range(1, self.last + 1)) - {e["epoch"] for e in news.epochs}
            self.last = min(missing, default=self.last + 1) - 1
        # Of an epoch that several attempts reached, the last attempt's row counts.
        epochs = sorted(news.epochs, key=lambda e: e["attempt"])
        epochs = {e["epoch"]: e for e in epochs if e["attempt"] <= self.attempt and e["epoch"] <= self.last}
        self.metrics: dict[int, dict[str, float | None]] = {step: _of_epoch(epochs[step]) for step in sorted(epochs)}
        unknown = {step: epochs[step].get("stamp", now) for step in self.metrics}
        if row:
            end = milliseconds(row.get("ended"), now)
            begin = milliseconds(row.get("started"), end)
            self.metrics[self.last] = {name: row[name] for name in (*FINAL_METRICS, *BEST)} | layer_metrics.of_end(row)
            unknown = {step: begin + (end - begin) * step // max(self.last, 1) for step in self.metrics}
            epochs[self.last] = row
        self.stamps = {step: milliseconds(epochs[step].get("ended"), unknown[step]) for step in self.metrics}

    @property
    def final(self) -> dict[str, float | None]:
        """The values of the last step."""
        return self.metrics.get(self.last, {})


def _of_epoch(row: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: row[name] for name in EPOCH_METRICS} | layer_metrics.of_epoch(row)


def milliseconds(moment: datetime | None, default: int) -> int:
    """A moment, in UTC unless it has a zone, since 1970; `default` if there is none."""
    if moment is None:
        return default
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
