"""The sweep `digits` as a driver tells a mirror of it, and as a real store in an SQLite file then has it."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from supermask.config import RULES, TrainConfig
from sweeps.results import BEST, ResultsWriter, epochs_table, trials_table
from sweeps.tracking import mirrored, mlflow_store
from sweeps.tracking.mirror import Mirror
from sweeps.tracking.mirrored import MirroredTrial
from sweeps.tracking.trajectory import EPOCH_METRICS, FINAL_METRICS

STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def config(trial: int) -> dict[str, Any]:
    values = {"learning_rate": 0.1 + 0.2 + trial, "weight_decay": 1 / 3e4, "pruning_rate": 2 / 3, "seed": 2**62 + trial}
    return TrainConfig(epochs=3, **values).to_dict()


def start_row(trial: int, *, attempt: int = 1, **changed: Any) -> dict[str, Any]:
    return {"trial": trial, "attempt": attempt, "pack": 4, "lane": trial, "host": "h", **config(trial), **changed}


def epoch_row(trial: int, epoch: int, *, attempt: int = 1, **changed: Any) -> dict[str, Any]:
    values = {name: (trial + 1) / (7 * epoch + place) for place, name in enumerate(EPOCH_METRICS)}
    return {"trial": trial, "attempt": attempt, "epoch": epoch, "seconds": 0.1, **values, **changed}


def trial_row(trial: int, *, attempt: int = 1, epochs_done: int = 3, **changed: Any) -> dict[str, Any]:
    last = epoch_row(trial, epochs_done)
    row = {"trial": trial, "state": "finished", "reason": None, "attempt": attempt, "pack": 4, "lane": trial}
    row |= {**config(trial), "epochs_done": epochs_done, **{name: last[name] for name in EPOCH_METRICS}}
    row |= {"best_epoch": 1, "best_estimate": 0.9, "best_standard_error": 0.01, "best_remaining": 0.3}
    row |= {"test_loss": math.pi, "test_accuracy": 1 / 7, "seconds": 1.1, "started": STARTED}
    row |= {"ended": STARTED + timedelta(seconds=9), "host": "h", "device": "cpu", "dtype": "float32", "commit": "abc"}
    return row | changed


class Driven(Mirror):
    """A mirror of `digits`, and the Parquet files that it reads."""

    def __init__(self, root: Path, uri: str | None = None) -> None:
        self.writer = ResultsWriter(root / "digits")
        uri = uri or mlflow_store.default_uri(root)
        super().__init__(uri, "digits", root=root, interval_seconds=0.01)

    def epochs(self, rows: Iterable[dict[str, Any]]) -> None:
        self.writer.add_epochs(epochs_table(rows))
        self.writer.flush()
        self.parts_written()

    def ended(self, rows: Iterable[dict[str, Any]]) -> None:
        self.writer.add_trials(trials_table(rows))
        self.writer.flush()
        self.parts_written()


def write(root: Path, rows: list[dict[str, Any]]) -> None:
    """Writes ended trials and their epochs, of which nobody tells the mirror."""
    writer = ResultsWriter(root / "digits")
    epochs = ((row["trial"], epoch, row["attempt"]) for row in rows for epoch in range(1, row["epochs_done"] + 1))
    writer.add_epochs(epochs_table(epoch_row(trial, epoch, attempt=attempt) for trial, epoch, attempt in epochs))
    writer.add_trials(trials_table(rows))
    writer.flush()


def train(made: Driven, trials: range) -> None:
    made.trials_started([start_row(trial) for trial in trials])
    for epoch in (1, 2, 3):
        made.epochs([epoch_row(trial, epoch) for trial in trials])
    made.ended([trial_row(trial) for trial in trials])


def read(root: Path) -> list[MirroredTrial]:
    return mirrored.read(mlflow_store.default_uri(root), "digits", root=root, count_steps=True)


def client(root: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(mlflow_store.default_uri(root), mlflow_store.default_uri(root))


def parents(root: Path) -> list[Any]:
    store = client(root)
    experiment = store.get_experiment_by_name("digits").experiment_id
    return list(store.search_runs([experiment], "tags.role = 'sweep'"))


def assert_equal(mirrored: MirroredTrial, row: dict[str, Any]) -> None:
    assert mirrored.state == row["state"]
    assert mirrored.attempt == row["attempt"]
    assert mirrored.metrics == {name: row[name] for name in (*FINAL_METRICS, *BEST)}
    assert set(mirrored.params) == set(RULES)
    for name, rule in RULES.items():
        assert rule.kind(mirrored.params[name]) == row[name]
