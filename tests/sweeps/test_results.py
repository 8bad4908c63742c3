import dataclasses
import logging
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
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
    TRIALS,
    ResultsWriter,
    epochs_table,
    load,
    load_epochs,
    trials_table,
    up_to,
)

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
        "layers": [{"name": "linear1", "remaining": 0.5, "inverted": 0.25}],
        "started": START,
        "ended": START + timedelta(seconds=trial),
        "seconds": 1.5,
        "host": "here",
        "device": "cpu",
        "dtype": "float32",
        "commit": None,
    }
    return row | other


def epoch_row(trial: int, epoch: int, *, attempt: int = 1, **other: Any) -> dict[str, Any]:
    metrics = dict.fromkeys(("train_loss", "val_loss", "val_accuracy", "remaining", "inverted", "seconds"), 0.5)
    layers = [{"name": name, "remaining": 0.5, "inverted": 0.125} for name in ("conv1", "linear1")]
    return {"trial": trial, "attempt": attempt, "epoch": epoch, **metrics, "layers": layers, **other}


def write(folder: Path, trials: list[dict[str, Any]], epochs: list[dict[str, Any]] | None = None) -> None:
    writer = ResultsWriter(folder)
    writer.add_trials(trials_table(trials))
    writer.add_epochs(epochs_table(epochs or []))
    writer.flush()


def files(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))  # noqa: PTH208


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


def test_a_flush_writes_at_most_one_file_a_folder_and_a_new_writer_counts_on(tmp_path: Path) -> None:
    writer = ResultsWriter(tmp_path / "s")
    writer.flush()
    assert files(tmp_path / "s" / "trials") == []
    for trial in range(2):
        writer.add_epochs(epochs_table([epoch_row(trial, 1)]))
        writer.add_epochs(epochs_table([epoch_row(trial, 2)]))
        writer.flush()
    writer.add_trials(trials_table([trial_row(0)]))
    writer.flush()
    write(tmp_path / "s", [trial_row(1)])
    assert files(tmp_path / "s" / "trials") == ["part-000001.parquet", "part-000002.parquet"]
    assert files(tmp_path / "s" / "epochs") == ["part-000001.parquet", "part-000002.parquet"]
    assert load_epochs(tmp_path, "s").num_rows == 4
    part = pq.ParquetFile(tmp_path / "s" / "trials" / "part-000001.parquet")
    assert part.metadata.row_group(0).column(0).compression == "ZSTD"


def test_numbers_count_on_past_six_digits(tmp_path: Path) -> None:
    write(tmp_path / "s", [trial_row(0, val_accuracy=0.1)])
    folder = tmp_path / "s" / "trials"
    (folder / "part-000001.parquet").rename(folder / "part-999999.parquet")
    write(tmp_path / "s", [trial_row(0, val_accuracy=0.2)])
    assert files(folder) == ["part-1000000.parquet", "part-999999.parquet"]
    assert load(tmp_path, "s")["val_accuracy"].to_pylist() == [0.2]


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


@settings(deadline=None, max_examples=50)  # Every example waits for the disk.
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


def test_a_crash_before_the_rename_leaves_nothing_to_read_and_the_next_writer_cleans_up(tmp_path: Path) -> None:
    write(tmp_path / "s", [trial_row(0)])
    # The process ends as by SIGKILL: neither exception handlers nor finally blocks run.
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from sweeps.results import ResultsWriter, trials_table\n"
        "Path.replace = lambda *_: os._exit(9)\n"
        "writer = ResultsWriter(Path(sys.argv[1]))\n"
        "writer.add_trials(trials_table([{'trial': 1, 'attempt': 1}]))\n"
        "writer.flush()\n"
    )
    assert subprocess.run([sys.executable, "-c", script, tmp_path / "s"], check=False).returncode == 9
    folder = tmp_path / "s" / "trials"
    assert len(files(folder)) == 2
    assert files(folder)[0].startswith(".tmp-part-000002.parquet")
    assert [path.name for path in folder.glob("*.parquet")] == ["part-000001.parquet"]
    assert load(tmp_path, "s")["trial"].to_pylist() == [0]
    write(tmp_path / "s", [trial_row(1)])
    assert files(folder) == ["part-000001.parquet", "part-000002.parquet"]
    assert load(tmp_path, "s")["trial"].to_pylist() == [0, 1]


def test_a_failed_write_keeps_the_rows_for_the_next_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = ResultsWriter(tmp_path / "s")
    writer.add_trials(trials_table([trial_row(0)]))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", full)
        with pytest.raises(SweepError, match=r"No space left on device. Free some space\.$") as caught:
            writer.flush()
    assert caught.value.exit_code == 1
    assert files(tmp_path / "s" / "trials") == []
    writer.add_trials(trials_table([trial_row(1)]))
    writer.flush()
    assert files(tmp_path / "s" / "trials") == ["part-000001.parquet"]
    assert load(tmp_path, "s")["trial"].to_pylist() == [0, 1]


def test_epochs_are_on_disk_before_their_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = ResultsWriter(tmp_path / "s")
    writer.add_trials(trials_table([trial_row(0)]))
    writer.add_epochs(epochs_table([epoch_row(0, 1)]))
    written = []
    true_write = pq.write_table

    def write_table(table: pa.Table, where: Path, **options: Any) -> None:
        written.append(where.parent.name)
        true_write(table, where, **options)

    monkeypatch.setattr(pq, "write_table", write_table)
    writer.flush()
    assert written == ["epochs", "trials"]


@pytest.mark.parametrize("kept", [0, 10, -10])
def test_a_torn_file_is_left_out_with_a_warning_and_set_aside_by_the_next_writer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kept: int
) -> None:
    write(tmp_path / "s", [trial_row(0)])
    write(tmp_path / "s", [trial_row(1)])
    torn = tmp_path / "s" / "trials" / "part-000001.parquet"
    torn.write_bytes(torn.read_bytes()[:kept])
    with caplog.at_level(logging.WARNING):
        assert load(tmp_path, "s")["trial"].to_pylist() == [1]
    assert f"{torn}: must be a readable Parquet file, but got: " in caplog.text
    assert "Its rows are left out. Restore the file, or set it aside with 'sweeps resume'" in caplog.text
    writer = ResultsWriter(tmp_path / "s")
    assert f"It is set aside as {torn.name}.torn." in caplog.text
    writer.add_trials(trials_table([trial_row(2)]))
    writer.flush()
    writer.compact(more_than=1)
    assert files(torn.parent) == ["part-000001.parquet.torn", "part-000004.parquet"]
    assert load(tmp_path, "s")["trial"].to_pylist() == [1, 2]


def test_compact_merges_only_many_files_and_loses_nothing(tmp_path: Path) -> None:
    for trial in range(4):
        write(tmp_path / "s", [trial_row(trial), trial_row(0, attempt=trial + 1)], [epoch_row(trial, 1)])
    before = load(tmp_path, "s", every_attempt=True), load_epochs(tmp_path, "s")
    writer = ResultsWriter(tmp_path / "s")
    writer.compact(more_than=4)
    assert len(files(tmp_path / "s" / "trials")) == 4
    writer.compact(more_than=3)
    assert files(tmp_path / "s" / "trials") == files(tmp_path / "s" / "epochs") == ["part-000005.parquet"]
    assert (load(tmp_path, "s", every_attempt=True), load_epochs(tmp_path, "s")) == before
    writer.compact(more_than=0)
    assert files(tmp_path / "s" / "trials") == ["part-000005.parquet"]


def test_a_compaction_cut_short_leaves_duplicates_that_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for trial in range(3):
        write(tmp_path / "s", [trial_row(trial)], [epoch_row(trial, 1)])
    before = load(tmp_path, "s"), load_epochs(tmp_path, "s")
    writer = ResultsWriter(tmp_path / "s")

    def crash(_: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", crash)
        with pytest.raises(KeyboardInterrupt):
            writer.compact(more_than=2)
    assert len(files(tmp_path / "s" / "epochs")) == 4
    assert (load(tmp_path, "s"), load_epochs(tmp_path, "s")) == before


def test_a_reader_lists_again_when_the_writer_compacts_under_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for trial in range(3):
        write(tmp_path / "s", [trial_row(trial)])
    true_file = pq.ParquetFile

    def open_late(path: Path) -> pq.ParquetFile:
        monkeypatch.setattr(pq, "ParquetFile", true_file)
        ResultsWriter(tmp_path / "s").compact(more_than=1)
        return true_file(path)

    monkeypatch.setattr(pq, "ParquetFile", open_late)
    assert load(tmp_path, "s")["trial"].to_pylist() == [0, 1, 2]
    assert len(files(tmp_path / "s" / "trials")) == 1


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
    table = pq.read_table(path).drop_columns(["decay_rate", "commit"])
    pq.write_table(table.append_column("retired", pa.array(["x"])), path)
    table = load(tmp_path, "s")
    assert table.schema.equals(TRIALS)
    assert table.to_pylist() == [trial_row(0, decay_rate=None)]


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


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("in the way")
    with pytest.raises(
        SweepError, match=r"trials: must be a folder that can be written, but got: .*Choose another --root"
    ):
        ResultsWriter(tmp_path / "s")


@pytest.mark.parametrize("module", ["results", "pareto", "figures.drawing", "paths", "errors"])
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
