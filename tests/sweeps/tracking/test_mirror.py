"""A mirror that falls behind keeps little in memory, and is complete in the end: against a real store in SQLite."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from sweeps.results import ResultsWriter, epochs_table, trials_table
from sweeps.tracking import mirror, mirrored, mlflow_store
from sweeps.tracking.mirror import Mirror
from sweeps.tracking.store import Run
from tests.sweeps.memory_store import MemoryStore

# MLflow 3.17 with SQLAlchemy 2.1; the mirror would take the warning turned error for a broken store.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

Row = dict[str, Any]
TRIALS = 12


@pytest.mark.parametrize("most_rows", [0, 5, 20, 10**6])
def test_trials_for_which_there_was_no_room_are_mirrored_from_parquet(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ended_row: Callable[..., Row],
    epoch_rows: Callable[[Row], list[Row]],
    most_rows: int,
) -> None:
    monkeypatch.setattr(mirror, "MOST_ROWS", most_rows)
    monkeypatch.setattr(mirror, "BLOCK", 5)
    rows = [ended_row(trial, attempt=1 + (trial == 3)) for trial in range(TRIALS)]
    writer, made = ResultsWriter(tmp_path / "small"), Mirror(mlflow_store.default_uri(tmp_path), "small", root=tmp_path)
    most = 0
    for row in rows:
        made.trials_started([row])
        for epoch in epoch_rows(row):
            table = epochs_table([epoch])
            writer.add_epochs(table)
            made.epochs(table)
            most = max(most, made.lag)
        writer.add_trials(trials_table([row]))
        writer.flush()
        made.trials_ended([row])
    assert most <= most_rows + TRIALS + 1  # beyond the limit there is one note per ended trial
    made.finish("finished")
    assert made.close(60) == 0
    assert made.rejected == {}
    found = mirrored.read(mlflow_store.default_uri(tmp_path), "small", root=tmp_path, count_steps=True)
    assert [(run.trial, run.attempt, run.state, run.steps) for run in found] == [
        (row["trial"], row["attempt"], "finished", 2) for row in rows
    ]
    for run, row in zip(found, rows, strict=True):
        assert run.metrics["val_accuracy"] == row["val_accuracy"]
        assert run.metrics["test_accuracy"] == row["test_accuracy"]
    # Nothing is left to repair.
    epochs = {row["trial"]: epoch_rows(row) for row in rows}
    assert (
        mlflow_store.sync(mlflow_store.default_uri(tmp_path), "small", root=tmp_path, trials=rows, epochs=epochs) == 0
    )


class Late(MemoryStore):
    """Makes runs when nobody waits for them any more: each is found only after another was made in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.late: dict[str, Run] = {}

    def create(self, name: str, tags: Mapping[str, str], stamp: int) -> str:
        if name not in self.late:
            self.late[name] = Run(f"{name}-late", tags=dict(tags))
            raise TimeoutError(name)
        made = super().create(name, tags, stamp)
        self.all |= {run.run_id: run for run in self.late.values()}
        return made


def test_a_run_that_was_made_after_its_request_was_given_up_is_removed_when_the_sweep_ends(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ended_row: Callable[..., Row],
    epoch_rows: Callable[[Row], list[Row]],
) -> None:
    store, row = Late(), ended_row(0)
    monkeypatch.setattr(mirror, "open_store", lambda *_: store)
    made = Mirror("http://nobody", "small", root=tmp_path, interval_seconds=0.01)
    made.start_sweep({"trials": 1}, {})
    made.trials_started([row])
    made.epochs(epochs_table(epoch_rows(row)))
    made.trials_ended([row])
    made.finish("finished")
    assert made.close(60) == 0
    assert len(store.deleted) == len(store.late) == 2
    parent, run = store.runs()
    assert (parent.tags["role"], parent.tags["state"], parent.params) == ("sweep", "finished", {"trials": "1"})
    assert (run.tags["state"], run.tags["mlflow.parentRunId"]) == ("finished", parent.run_id)
    assert run.last == row["epochs_done"]
