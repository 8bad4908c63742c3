"""Confirmations of a sweep as Parquet files: one row per chosen network and fresh seed, in `ROOT/NAME/confirm/`."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import Table

from sweeps.results import CONFIG_COLUMNS, TRIALS
from sweeps.store import parts
from sweeps.store.parts import Parts, newest, read

CONFIRMATIONS = pa.schema(
    [
        ("trial", pa.int64()),
        ("epoch", pa.int64()),
        ("seed_index", pa.int64()),
        ("state", pa.string()),
        ("reason", pa.string()),
        *(TRIALS.field(name) for name in CONFIG_COLUMNS),
        ("epochs_done", pa.int64()),
        ("val_accuracy", pa.float64()),
        ("val_loss", pa.float64()),
        ("estimate", pa.float64()),
        ("standard_error", pa.float64()),
        ("test_accuracy", pa.float64()),
        ("test_loss", pa.float64()),
        ("remaining", pa.float64()),
        ("inverted", pa.float64()),
        ("seconds", pa.float64()),
        *(TRIALS.field(name) for name in ("host", "device", "dtype", "commit", "started", "ended")),
    ]
)
"""One row per network and seed. `seed_index` counts fresh seeds from 0; `seed` is the seed itself, and `epochs` the
network's epoch, as for a training that ends with it. `epochs_done` is smaller where a training came to its end before.
Columns otherwise as in `sweeps.results.TRIALS`."""

_KEYS = ("trial", "epoch", "seed_index")


class ConfirmationWriter:
    """Writes the confirmations of one sweep; at most one writer per folder.

    Args:
        folder: `ROOT/NAME/confirm`; created if missing.
        check: Raises a SweepError if this process may write no more; called before each file.

    Raises:
        SweepError: If the folder cannot be written.
    """

    def __init__(self, folder: Path, *, check: Callable[[], None] = lambda: None) -> None:
        self._parts = Parts(folder, CONFIRMATIONS, keys=_KEYS, check=check)

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Writes rows of `CONFIRMATIONS` at once, together with rows buffered by a failed call.

        Raises:
            SweepError: If writing failed.
        """
        self._parts.add(parts.table(rows, CONFIRMATIONS, keys=_KEYS, where="confirm"))
        self._parts.flush()

    def compact(self) -> None:
        """Merges all files into one."""
        self._parts.compact(1)


def load(folder: Path | str) -> Table:
    """The confirmations in a folder; none when it does not exist.

    Returns:
        A table with the columns of `CONFIRMATIONS`, sorted by trial, epoch and seed index. A network that was trained
        again with a seed has its newest row only. What a version confirmed that knew trials only is their last network.
    """
    table = read(Path(folder), CONFIRMATIONS)
    if table.column("epoch").null_count:
        last = table.column("epochs").combine_chunks()
        epochs = table.column("epoch").combine_chunks().fill_null(last)
        table = table.set_column(table.column_names.index("epoch"), "epoch", epochs)
    return newest(table, _KEYS)
