"""Rows of trials and epochs with every column, and the files that they are written to."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from supermask.config import TrainConfig
from sweeps.results import ResultsWriter, epochs_table, trials_table

START = datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def trial_row(trial: int, *, attempt: int = 1, state: str = "finished", **other: Any) -> dict[str, Any]:
    row = {
        "trial": trial,
        "state": state,
        "reason": None,
        "attempt": attempt,
        "pack": 0,
        "lane": trial,
        **TrainConfig(seed=trial).to_dict(),
        "epochs_done": 2,
        **dict.fromkeys(
            ("train_loss", "val_loss", "val_accuracy", "remaining", "inverted", "test_loss", "test_accuracy"), 0.25
        ),
        "estimate": 0.25,
        "standard_error": 0.01,
        "best_epoch": 1,
        "best_estimate": 0.375,
        "best_standard_error": 0.01,
        "best_remaining": 0.125,
        "layers": [{"name": "linear1", "remaining": 0.5, "inverted": 0.25}],
        "started": START,
        "ended": START + timedelta(seconds=trial),
        "seconds": 1.5,
        "host": "here",
        "device": "cpu",
        "dtype": "float32",
        "classes": 10,
        "commit": None,
    }
    return row | other


def epoch_row(trial: int, epoch: int, *, attempt: int = 1, **other: Any) -> dict[str, Any]:
    metrics = dict.fromkeys(("train_loss", "val_loss", "val_accuracy", "remaining", "inverted", "seconds"), 0.5)
    layers = [{"name": name, "remaining": 0.5, "inverted": 0.125} for name in ("conv1", "linear1")]
    judged = {"estimate": 0.5, "standard_error": 0.01, "test_loss": None, "test_accuracy": None, "ended": START}
    return {"trial": trial, "attempt": attempt, "epoch": epoch, **metrics, **judged, "layers": layers, **other}


def write(folder: Path, trials: list[dict[str, Any]], epochs: list[dict[str, Any]] | None = None) -> None:
    writer = ResultsWriter(folder)
    writer.add_trials(trials_table(trials))
    writer.add_epochs(epochs_table(epochs or []))
    writer.flush()


def files(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))  # noqa: PTH208
