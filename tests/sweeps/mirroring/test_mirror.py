"""A mirror that falls behind keeps little in memory, and is complete in the end: against a real store in SQLite."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeps import tracking
from sweeps.mirroring import mirror, mirrored
from sweeps.mirroring.mirror import Mirror
from sweeps.results import ResultsWriter, epochs_table, trials_table

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
    writer, made = ResultsWriter(tmp_path / "small"), Mirror(tracking.default_uri(tmp_path), "small", root=tmp_path)
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
    found = mirrored.read(tracking.default_uri(tmp_path), "small", root=tmp_path, count_steps=True)
    assert [(run.trial, run.attempt, run.state, run.steps) for run in found] == [
        (row["trial"], row["attempt"], "finished", 2) for row in rows
    ]
    for run, row in zip(found, rows, strict=True):
        assert run.metrics["val_accuracy"] == row["val_accuracy"]
        assert run.metrics["test_accuracy"] == row["test_accuracy"]
    # Nothing is left to repair.
    epochs = {row["trial"]: epoch_rows(row) for row in rows}
    assert tracking.sync(tracking.default_uri(tmp_path), "small", root=tmp_path, trials=rows, epochs=epochs) == 0
