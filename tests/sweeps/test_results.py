"""The rows of a sweep's results: what is written is read, the newest of each; see test_parts for the files."""

import dataclasses
import subprocess
import sys
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supermask.config import TrainConfig
from sweeps.errors import SweepError
from sweeps.results import (
    CONFIG_COLUMNS,
    EPOCHS,
    RUNNING,
    TRIALS,
    ResultsWriter,
    epochs_table,
    load,
    load_epochs,
    up_to,
)
from tests.sweeps.result_rows import START, epoch_row, files, trial_row, write


def test_the_columns_of_a_trial_are_the_configuration_and_its_result() -> None:
    assert tuple(field.name for field in dataclasses.fields(TrainConfig)) == CONFIG_COLUMNS
    assert tuple(TRIALS.names[6 : 6 + len(CONFIG_COLUMNS)]) == CONFIG_COLUMNS
    kinds = {name: str(TRIALS.field(name).type) for name in ("network", "seed", "epochs", "learning_rate", "ended")}
    assert kinds == {
        "network": "string",
        "seed": "int64",
        "epochs": "int64",
        "learning_rate": "double",
        "ended": "timestamp[us, tz=UTC]",
    }


def test_rows_come_back_value_by_value_sorted_by_trial(tmp_path: Path) -> None:
    failed = trial_row(0, state="failed", reason="loss is NaN", val_loss=None, remaining=None, seed=2**63 - 1)
    rows = [trial_row(2), failed, trial_row(1, val_accuracy=1 / 3)]
    write(tmp_path / "s", rows, [epoch_row(2, 2), epoch_row(2, 1)])
    table = load(tmp_path, "s")
    assert table.schema.equals(TRIALS)
    assert table.to_pylist() == [rows[1], rows[2], rows[0]]
    assert load_epochs(str(tmp_path), "s").to_pylist() == [epoch_row(2, 1), epoch_row(2, 2)]


def test_times_of_any_zone_are_kept_as_utc(tmp_path: Path) -> None:
    east = START.astimezone(timezone(timedelta(hours=2)))
    write(tmp_path / "s", [trial_row(0, started=east, ended=START.replace(tzinfo=None))])
    row = load(tmp_path, "s").to_pylist()[0]
    assert row["started"] == row["ended"] == START


def test_numpy_values_are_taken(tmp_path: Path) -> None:
    write(tmp_path / "s", [], [epoch_row(1, 1, val_loss=np.float32(0.5), inverted=np.float64("nan"))])
    row = load_epochs(tmp_path, "s").to_pylist()[0]
    assert row["val_loss"] == 0.5
    assert np.isnan(row["inverted"])


@pytest.mark.parametrize(
    ("row", "error", "message"),
    [
        (
            epoch_row(1, 1) | {"val_acuracy": 1.0},
            ValueError,
            r"epochs: every column must be known, but got \['val_acuracy'\]. Did you mean 'val_accuracy'\?",
        ),
        (
            {"trial": 1, "attempt": 1},
            ValueError,
            r"every row must have trial, attempt, epoch, but got no \['epoch'\]. Add it.",
        ),
        (epoch_row(1, 1, remaining="half"), ValueError, "half"),
    ],
)
def test_a_wrong_row_fails_where_it_is_added_and_spoils_no_other(
    tmp_path: Path, row: dict[str, Any], error: type[Exception], message: str
) -> None:
    writer = ResultsWriter(tmp_path / "s")
    writer.add_epochs(epochs_table([epoch_row(0, 1)]))
    with pytest.raises(error, match=message):
        writer.add_epochs(epochs_table([row]))
    writer.flush()
    assert load_epochs(tmp_path, "s").num_rows == 1


def test_the_latest_attempt_stands_for_its_trial(tmp_path: Path) -> None:
    write(tmp_path / "s", [trial_row(0, attempt=2), trial_row(1)])
    write(tmp_path / "s", [trial_row(0, attempt=1, state="failed"), trial_row(1, val_accuracy=0.75)])
    found = [
        (row["trial"], row["attempt"], row["state"], row["val_accuracy"]) for row in load(tmp_path, "s").to_pylist()
    ]
    assert found == [(0, 2, "finished", 0.25), (1, 1, "finished", 0.75)]
    every = load(tmp_path, "s", every_attempt=True).select(["trial", "attempt"]).to_pylist()
    assert [tuple(row.values()) for row in every] == [(0, 1), (0, 2), (1, 1)]


def test_epochs_follow_the_attempt_of_the_trial_or_the_highest(tmp_path: Path) -> None:
    epochs = [epoch_row(trial, 1, attempt=attempt) for trial in (0, 1, 3) for attempt in (1, 2)]
    write(tmp_path / "s", [trial_row(0, attempt=1), trial_row(2), trial_row(9)], epochs)
    latest = load_epochs(tmp_path, "s").select(["trial", "attempt"]).to_pylist()
    assert [tuple(row.values()) for row in latest] == [(0, 1), (1, 2), (3, 2)]
    assert load_epochs(tmp_path, "s", latest_attempt=False).num_rows == 6


Row = tuple[int, int, int, float]
ROWS = st.lists(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 3), st.floats(0, 1)), max_size=6),
    max_size=4,
)


@settings(max_examples=50)  # Every example waits for the disk.
@given(flushes=ROWS, compact_after=st.integers(0, 4))
def test_whatever_the_order_the_newest_row_of_a_key_is_read_once(
    tmp_path_factory: pytest.TempPathFactory, flushes: list[list[Row]], compact_after: int
) -> None:
    root = tmp_path_factory.mktemp("root")
    expected: dict[tuple[int, int, int], float] = {}
    for number, rows in enumerate(flushes):
        writer = ResultsWriter(root / "s")
        writer.add_epochs(
            epochs_table([epoch_row(trial, epoch, attempt=a, val_loss=loss) for trial, a, epoch, loss in rows])
        )
        writer.flush()
        if number == compact_after:
            writer.compact(more_than=1)
        expected |= {(trial, a, epoch): loss for trial, a, epoch, loss in rows}
    ResultsWriter(root / "s")
    table = load_epochs(root, "s", latest_attempt=False)
    found = {(row["trial"], row["attempt"], row["epoch"]): row["val_loss"] for row in table.to_pylist()}
    assert found == expected
    assert table.num_rows == len(expected)
    assert list(found) == sorted(found)
    highest = {trial: max(a for other, a, _ in expected if other == trial) for trial, _, _ in expected}
    latest = load_epochs(root, "s").to_pylist()
    kept = [key for key in sorted(expected) if key[1] == highest[key[0]]]
    assert [(row["trial"], row["attempt"], row["epoch"]) for row in latest] == kept


def test_epochs_of_an_older_version_have_no_layers_and_newer_ones_come_back(tmp_path: Path) -> None:
    write(tmp_path / "s", [], [epoch_row(0, 1)])
    path = tmp_path / "s" / "epochs" / "part-000001.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["layers"]), path)
    write(tmp_path / "s", [], [epoch_row(0, 2), epoch_row(0, 3, layers=[])])
    wanted = [epoch_row(0, 1, layers=None), epoch_row(0, 2), epoch_row(0, 3, layers=[])]
    assert load_epochs(tmp_path, "s").to_pylist() == wanted
    ResultsWriter(tmp_path / "s").compact(more_than=1)
    assert len(files(tmp_path / "s" / "epochs")) == 1
    table = load_epochs(tmp_path, "s")
    assert table.schema.equals(EPOCHS)
    assert table.to_pylist() == wanted


def test_files_of_another_version_gain_and_lose_columns(tmp_path: Path) -> None:
    write(tmp_path / "s", [trial_row(0)])
    path = tmp_path / "s" / "trials" / "part-000001.parquet"
    table = pq.read_table(path).drop_columns(["decay_rate", "gain_rule", "commit"])
    pq.write_table(table.append_column("retired", pa.array(["x"])), path)
    table = load(tmp_path, "s")
    assert table.schema.equals(TRIALS)
    # A field of the training configuration that is newer than the file had its default.
    assert table.to_pylist() == [trial_row(0, decay_rate=0.9, gain_rule="fixed")]


def test_a_sweep_without_results_is_empty(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    assert load(tmp_path, "s").equals(TRIALS.empty_table())
    assert load_epochs(tmp_path, "s").equals(EPOCHS.empty_table())


def test_a_missing_sweep_names_the_nearest(tmp_path: Path) -> None:
    for name in ("fcn_mnist", "conv"):
        ResultsWriter(tmp_path / name)
    with pytest.raises(SweepError) as caught:
        load(tmp_path, "fcn_mnits")
    assert caught.value.message == (
        f"sweep fcn_mnits: must exist under {tmp_path}, but there is no such folder. "
        f"Run 'sweeps list --root {tmp_path}' to see what there is, or did you mean 'fcn_mnist'?"
    )
    with pytest.raises(SweepError, match=r"to see what there is\.$"):
        load_epochs(tmp_path / "nowhere", "x")
    with pytest.raises(SweepError, match="name: must be"):
        load(tmp_path, "../x")


@pytest.mark.parametrize("module", ["results", "pareto", "figures.drawing", "store.paths", "errors"])
def test_analysis_loads_without_the_heavy_libraries(module: str) -> None:
    heavy = ("ray", "mlflow", "torch", "optuna", "pandas", "matplotlib.pyplot")
    script = f"import sys, sweeps.{module}; print([name for name in {heavy!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, capture_output=True, text=True)
    assert run.stdout == "[]\n"


def test_epochs_up_to_the_last_of_each_trial() -> None:
    table = epochs_table(epoch_row(trial, epoch) for trial in range(4) for epoch in (1, 2, 3))
    found = up_to(table, {0: 2, 2: 9, 3: 0})
    assert [(row["trial"], row["epoch"]) for row in found.to_pylist()] == [(0, 1), (0, 2), (2, 1), (2, 2), (2, 3)]
    assert up_to(table, {}).num_rows == up_to(table.slice(0, 0), {0: 1}).num_rows == 0


def test_a_trial_that_runs_has_a_row_until_it_ends(tmp_path: Path) -> None:
    write(tmp_path / "s", [trial_row(0, state=RUNNING), trial_row(1, state=RUNNING)])
    write(tmp_path / "s", [trial_row(0)])
    assert load(tmp_path, "s").column("trial").to_pylist() == [0]
    both = load(tmp_path, "s", running=True, columns=["state"])
    assert both.column("state").to_pylist() == ["finished", RUNNING]
    assert load(tmp_path, "s", columns=["seed"]).column_names == ["trial", "attempt", "seed"]
    ResultsWriter(tmp_path / "s").compact(more_than=1)
    assert load(tmp_path, "s", running=True, columns=["state"]).equals(both)
