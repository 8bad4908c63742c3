from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from supermask.config import TrainConfig
from sweeps.confirmations import CONFIRMATIONS, ConfirmationWriter, load
from sweeps.results import CONFIG_COLUMNS


def row(trial: int, seed_index: int, *, epoch: int = 3, **changed: Any) -> dict[str, Any]:
    metrics = ("val_accuracy", "val_loss", "test_accuracy", "test_loss", "remaining", "inverted")
    result = dict.fromkeys((*metrics, "estimate", "standard_error"), 0.5)
    named = {
        "trial": trial,
        "epoch": epoch,
        "seed_index": seed_index,
        "state": "finished",
        "reason": None,
        "epochs_done": 3,
    }
    where = {"host": "h", "device": "cpu", "dtype": "float32", "commit": None, "started": None, "ended": None}
    config = TrainConfig(seed=2**62 + seed_index, epochs=epoch).to_dict()
    return {**named, **config, **result, "seconds": 1.0, **where, **changed}


def test_the_columns_are_the_key_the_configuration_and_the_result() -> None:
    head, tail = (
        ["trial", "epoch", "seed_index", "state", "reason"],
        ["host", "device", "dtype", "commit", "started", "ended"],
    )
    assert CONFIRMATIONS.names[: 5 + len(CONFIG_COLUMNS)] == [*head, *CONFIG_COLUMNS]
    assert CONFIRMATIONS.names[-6:] == tail
    assert set(CONFIRMATIONS.names) == set(row(0, 0))


def test_rows_are_on_disk_at_once_and_come_back_sorted(tmp_path: Path) -> None:
    writer = ConfirmationWriter(tmp_path / "confirm")
    writer.write([row(2, 0), row(1, 1)])
    assert load(tmp_path / "confirm").to_pylist() == [row(1, 1), row(2, 0)]
    writer.write([row(1, 0), row(1, 0, epoch=2)])
    assert load(tmp_path / "confirm").to_pylist() == [row(1, 0, epoch=2), row(1, 0), row(1, 1), row(2, 0)]
    assert len(list((tmp_path / "confirm").iterdir())) == 2
    writer.compact()
    assert len(list((tmp_path / "confirm").iterdir())) == 1
    assert load(tmp_path / "confirm").num_rows == 4


def test_a_seed_that_was_trained_again_has_its_newest_row(tmp_path: Path) -> None:
    ConfirmationWriter(tmp_path).write([row(1, 0, state="failed", reason="the worker process died", val_loss=None)])
    ConfirmationWriter(tmp_path).write([row(1, 0)])
    assert load(tmp_path).to_pylist() == [row(1, 0)]


def test_what_was_confirmed_before_networks_had_names_is_of_the_last_epoch(tmp_path: Path) -> None:
    old = [{name: value for name, value in row(trial, 0).items() if name != "epoch"} for trial in (2, 1)]
    schema = pa.schema([field for field in CONFIRMATIONS if field.name != "epoch"])
    pq.write_table(pa.Table.from_pylist(old, schema=schema), tmp_path / "part-000001.parquet")
    assert load(tmp_path).to_pylist() == [row(1, 0), row(2, 0)]
    writer = ConfirmationWriter(tmp_path)
    newer = [row(1, 0, epoch=2), row(2, 0, val_loss=0.25)]
    writer.write(newer)
    expected = [newer[0], row(1, 0), newer[1]]
    assert load(tmp_path).to_pylist() == expected
    writer.compact()
    assert load(tmp_path).to_pylist() == expected


def test_nothing_was_confirmed_yet(tmp_path: Path) -> None:
    assert load(tmp_path / "confirm").num_rows == 0


def test_a_row_without_its_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"every row must have trial, epoch, seed_index, but got no \['epoch', 'seed_index'\]. Add it."
    ):
        ConfirmationWriter(tmp_path).write([{"trial": 1}])
