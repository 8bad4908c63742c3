"""The Parquet files of a sweep: numbered, written whole or not at all, and merged when there are many."""

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sweeps.errors import SweepError
from sweeps.results import ResultsWriter, epochs_table, load, load_epochs, trials_table
from tests.sweeps.result_rows import epoch_row, files, trial_row, write


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


def test_a_crash_before_a_file_has_its_name_leaves_nothing_to_read_and_the_next_writer_cleans_up(
    tmp_path: Path,
) -> None:
    write(tmp_path / "s", [trial_row(0)])
    # The process ends as by SIGKILL: neither exception handlers nor finally blocks run.
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from sweeps.results import ResultsWriter, trials_table\n"
        "os.link = lambda *_: os._exit(9)\n"
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


def test_a_file_that_another_driver_wrote_meanwhile_stays_as_it_is(tmp_path: Path) -> None:
    writer, other = ResultsWriter(tmp_path / "s"), ResultsWriter(tmp_path / "s")
    other.add_trials(trials_table([trial_row(0)]))
    other.flush()
    writer.add_trials(trials_table([trial_row(1)]))
    writer.flush()
    assert files(tmp_path / "s" / "trials") == ["part-000001.parquet", "part-000002.parquet"]
    assert load(tmp_path, "s")["trial"].to_pylist() == [0, 1]


def test_who_loses_the_lease_while_it_writes_a_file_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, true_write = list[int](), pq.write_table

    def check() -> None:
        if lost:
            raise SweepError("another driver has taken over", exit_code=1)

    def write_slowly(*arguments: Any, **options: Any) -> None:
        true_write(*arguments, **options)
        lost.append(1)

    monkeypatch.setattr(pq, "write_table", write_slowly)
    writer = ResultsWriter(tmp_path / "s", check=check)
    writer.add_trials(trials_table([trial_row(0)]))
    with pytest.raises(SweepError, match="another driver has taken over"):
        writer.flush()
    assert files(tmp_path / "s" / "trials") == []


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
    writer, unlink = ResultsWriter(tmp_path / "s"), Path.unlink

    def crash(path: Path, **options: bool) -> None:
        if path.suffix == ".parquet":
            raise KeyboardInterrupt
        unlink(path, **options)

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


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("in the way")
    with pytest.raises(
        SweepError, match=r"trials: must be a folder that can be written, but got: .*Choose another --root"
    ):
        ResultsWriter(tmp_path / "s")
