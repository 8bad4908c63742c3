"""Rows that a worker reports of its pack; what they mean stands at `sweeps.worker.pack_worker.PackWorker`."""

from datetime import UTC, datetime
from typing import Any

from supermask.metrics import RECORDED, EpochMetrics, Evaluation
from sweeps.results import epochs_table

Row = dict[str, Any]


def nothing_of(pack: int) -> Row:
    """A report in which nothing has happened yet.

    Args:
        pack: Its number.
    """
    return {
        "pack": pack,
        "started": [],
        "epochs": epochs_table([]),
        "epoch": 0,
        "trials": [],
        "ended": [],
        "paused": [],
        "keeps": False,
        "unkept": None,
        "error": None,
        "out_of_memory": False,
        "done": False,
    }


def epoch_row(found: EpochMetrics) -> Row:
    """An epoch of a lane, without the trial that it is of."""
    return {name: getattr(found, name) for name in ("epoch", *RECORDED, "seconds")} | {"layers": _layer_rows(found)}


def ended_row(found: EpochMetrics, *, state: str, reason: str | None = None, test: Evaluation | None = None) -> Row:
    """The end of a lane now, without the trial that it is of and the time that it took.

    Args:
        found: Its last epoch.
        state: `finished`, `stopped` or `failed`.
        reason: Why, unless it finished.
        test: Of one that finished.
    """
    return {
        "state": state,
        "reason": reason,
        "epochs_done": found.epoch,
        **{name: getattr(found, name) for name in RECORDED},
        "layers": _layer_rows(found),
        "test_loss": test and test.loss,
        "test_accuracy": test and test.accuracy,
        "ended": datetime.now(UTC),
    }


def _layer_rows(found: EpochMetrics) -> list[Row]:
    return [dict(vars(layer)) for layer in found.layers]
