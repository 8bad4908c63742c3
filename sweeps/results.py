"""A sweep's results as Parquet files: one row per ended trial, one row per trial and epoch.

One process writes (the driver of the sweep), any number may read at the same time. Every flush adds one file per
folder; a file is never changed. A row that was written twice, as after a crash, is read once.
"""

import dataclasses
import difflib
import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import Table

from supermask.config import RULES, TrainConfig
from sweeps.errors import SweepError
from sweeps.paths import TEMPORARY_PREFIX, SweepPaths, replacing, sweep_names

_LOG = logging.getLogger(__name__)

_ARROW_KINDS: dict[type, pa.DataType] = {int: pa.int64(), float: pa.float64(), str: pa.string()}
_UTC = pa.timestamp("us", tz="UTC")

_LAYERS = pa.list_(pa.struct([("name", pa.string()), ("remaining", pa.float32()), ("inverted", pa.float32())]))
"""What the mask leaves of each layer, from input to output; float32, for a deep network has over a hundred."""

CONFIG_COLUMNS = tuple(field.name for field in dataclasses.fields(TrainConfig))
"""The columns of a trial that say what was trained."""

TRIALS = pa.schema(
    [
        ("trial", pa.int64()),
        ("state", pa.string()),
        ("reason", pa.string()),
        ("attempt", pa.int64()),
        ("pack", pa.int64()),
        ("lane", pa.int64()),
        *((name, _ARROW_KINDS[RULES[name].kind]) for name in CONFIG_COLUMNS),
        ("epochs_done", pa.int64()),
        ("train_loss", pa.float64()),
        ("val_loss", pa.float64()),
        ("val_accuracy", pa.float64()),
        ("remaining", pa.float64()),
        ("inverted", pa.float64()),
        ("layers", _LAYERS),
        ("test_loss", pa.float64()),
        ("test_accuracy", pa.float64()),
        ("started", _UTC),
        ("ended", _UTC),
        ("seconds", pa.float64()),
        ("host", pa.string()),
        ("device", pa.string()),
        ("dtype", pa.string()),
        ("commit", pa.string()),
    ]
)
"""One row per ended trial. Accuracies and fractions lie in [0, 1]; metrics are null if no epoch ended."""

EPOCHS = pa.schema(
    [
        ("trial", pa.int64()),
        ("attempt", pa.int64()),
        ("epoch", pa.int64()),
        ("train_loss", pa.float64()),
        ("val_loss", pa.float64()),
        ("val_accuracy", pa.float64()),
        ("remaining", pa.float64()),
        ("inverted", pa.float64()),
        ("layers", _LAYERS),
        ("seconds", pa.float64()),
    ]
)
"""One row per trial, attempt and epoch (1-based). `seconds` is the lane's share of its pack's time."""

_TRIAL_KEYS = ("trial", "attempt")
_EPOCH_KEYS = ("trial", "attempt", "epoch")
_PART = re.compile(r"part-(\d+)\.parquet")
_READ_TRIES = 5


class ResultsWriter:
    """Writes the results of one sweep. Only one may be alive per folder.

    Args:
        folder: The sweep's folder, `ROOT/NAME`; created if missing. What a dead writer left unfinished is removed.

    Raises:
        SweepError: If the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._trials = _Parts(folder / "trials", TRIALS, keys=_TRIAL_KEYS)
        self._epochs = _Parts(folder / "epochs", EPOCHS, keys=_EPOCH_KEYS)

    def add_epochs(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Keeps rows of `EPOCHS` until the next flush.

        Raises:
            ValueError: If a row has an unknown column or lacks a key, or a value has the wrong type (for some
                types a TypeError).
        """
        self._epochs.add(rows)

    def add_trials(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Keeps rows of `TRIALS` until the next flush; see `add_epochs`. Times without a zone are taken as UTC."""
        self._trials.add(rows)

    def flush(self) -> None:
        """Writes what was added: the epochs first, so that a trial on disk has all its epochs there.

        Raises:
            SweepError: If writing failed. The rows are kept, and the next flush tries again.
        """
        self._epochs.flush()
        self._trials.flush()

    def compact(self, *, more_than: int = 64) -> None:
        """Merges the files of a folder that holds more than `more_than` of them into one.

        The merged file is complete before the first old one goes, so a crash leaves duplicates and loses nothing. It
        rewrites everything: meant for the end of a session, not for every flush.
        """
        self._epochs.compact(more_than)
        self._trials.compact(more_than)


class _Parts:
    """One folder of numbered files with one schema, and the rows that wait to be written to it."""

    def __init__(self, folder: Path, schema: pa.Schema, *, keys: tuple[str, ...]) -> None:
        self._folder, self._schema, self._keys = folder, schema, keys
        self._waiting: list[Table] = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for unfinished in folder.glob(f"{TEMPORARY_PREFIX}*"):
                unfinished.unlink()
        except OSError as error:
            raise SweepError(
                f"{folder}: must be a folder that can be written, but got: {error}. Choose another --root."
            ) from error
        self._number = max((_number(path) for path in _parts(folder)), default=0)

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        rows = list(rows)
        for row in rows:
            self._check(row)
        if rows:
            # Converted now, so that a wrong value fails where it was made and not in a flush with other trials' rows.
            self._waiting.append(Table.from_pylist(rows, schema=self._schema))

    def _check(self, row: Mapping[str, Any]) -> None:
        where = self._folder.name
        unknown = sorted(set(row) - set(self._schema.names))
        if unknown:
            near = difflib.get_close_matches(unknown[0], self._schema.names, n=1, cutoff=0.0)[0]
            raise ValueError(f"{where}: every column must be known, but got {unknown}. Did you mean {near!r}?")
        missing = [key for key in self._keys if row.get(key) is None]
        if missing:
            raise ValueError(f"{where}: every row must have {', '.join(self._keys)}, but got no {missing}. Add it.")

    def flush(self) -> None:
        if self._waiting:
            self._write(pa.concat_tables(self._waiting))
            self._waiting.clear()

    def compact(self, more_than: int) -> None:
        merged = [(path, table) for path in _parts(self._folder) if (table := _read(path, self._schema)) is not None]
        if len(merged) > max(more_than, 1):
            self._write(_newest(pa.concat_tables([table for _, table in merged]), self._keys))
            for path, _ in merged:
                path.unlink()

    def _write(self, table: Table) -> None:
        path = self._folder / f"part-{self._number + 1:06d}.parquet"
        try:
            with replacing(path) as temporary:
                pq.write_table(table, temporary, compression="zstd")
        except OSError as error:
            raise SweepError(
                f"{path}: must be written, but got: {error}. Free some space; the rows are kept for the next flush.",
                exit_code=1,
            ) from error
        self._number += 1


def table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """Rows of trials as a table with the columns of `TRIALS`."""
    return Table.from_pylist(list(rows), schema=TRIALS)


def load(root: Path | str, name: str, *, every_attempt: bool = False) -> Table:
    """The ended trials of a sweep.

    Args:
        root: The folder of all sweeps.
        name: The sweep.
        every_attempt: Whether a trial that was tried again has a row per attempt, rather than one for the latest.

    Returns:
        A table with the columns of `TRIALS`, sorted by trial (and attempt). A file that cannot be read is left out
        with a logged warning.

    Raises:
        SweepError: If there is no such sweep.
    """
    table = _table(_folder(root, name).trials, TRIALS)
    return _newest(table, _TRIAL_KEYS, per=_TRIAL_KEYS if every_attempt else ("trial",))


def load_epochs(root: Path | str, name: str, *, latest_attempt: bool = True) -> Table:
    """The epochs of a sweep, running trials' included.

    Args:
        root: The folder of all sweeps.
        name: The sweep.
        latest_attempt: Whether to keep only the attempt that the trial's row names, or the highest while it has none.

    Returns:
        A table with the columns of `EPOCHS`, sorted by trial, attempt and epoch.

    Raises:
        SweepError: If there is no such sweep.
    """
    table = _newest(_table(_folder(root, name).epochs, EPOCHS), _EPOCH_KEYS)
    if not latest_attempt or not table.num_rows:
        return table
    trials, attempts = _integers(table, "trial"), _integers(table, "attempt")
    known, group = np.unique(trials, return_inverse=True)
    wanted = np.zeros(len(known), dtype=np.int64)
    np.maximum.at(wanted, group, attempts)
    ended = load(root, name)
    place = np.searchsorted(known, _integers(ended, "trial"))
    has_epochs = np.isin(_integers(ended, "trial"), known)
    wanted[place[has_epochs]] = _integers(ended, "attempt")[has_epochs]
    return table.filter(pa.array(attempts == wanted[group]))


def _folder(root: Path | str, name: str) -> SweepPaths:
    paths = SweepPaths(Path(root), name)
    if paths.folder.is_dir():
        return paths
    near = difflib.get_close_matches(name, sweep_names(paths.root), n=3, cutoff=0.4)
    guess = f", or did you mean {' or '.join(repr(other) for other in near)}?" if near else "."
    raise SweepError(
        f"sweep {name}: must exist under {paths.root}, but there is no such folder. "
        f"Run 'sweeps list --root {paths.root}' to see what there is{guess}"
    )


def _table(folder: Path, schema: pa.Schema) -> Table:
    """All rows of a folder in the order they were written."""
    for _ in range(_READ_TRIES):
        try:
            tables = [table for path in _parts(folder) if (table := _read(path, schema)) is not None]
        except FileNotFoundError:
            continue  # The writer compacted after we had listed: the rows now live in a newer file.
        return pa.concat_tables([schema.empty_table(), *tables])
    raise SweepError(f"{folder}: must hold still to be read, but its files kept vanishing. Try again.", exit_code=1)


def _parts(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob("part-*.parquet") if _PART.fullmatch(path.name)), key=_number)


def _number(path: Path) -> int:
    return int(path.stem.removeprefix("part-"))


def _read(path: Path, schema: pa.Schema) -> Table | None:
    try:
        with pq.ParquetFile(path) as file:
            return _conform(file.read(), schema)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        _LOG.warning(
            "%s: must be a readable Parquet file, but got: %s. Its rows are left out. Restore the file or delete it.",
            path,
            error,
        )
        return None


def _conform(table: Table, schema: pa.Schema) -> Table:
    """`table` with exactly the columns of `schema`: a file of another version may have more or fewer."""
    if table.schema.equals(schema):
        return table
    has = set(table.column_names)
    columns = [
        table.column(field.name).cast(field.type) if field.name in has else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return Table.from_arrays(columns, schema=schema)


def _newest(table: Table, keys: tuple[str, ...], *, per: tuple[str, ...] | None = None) -> Table:
    """The last row of each value of `per` (default: of each key), where rows are sorted by `keys`, then as written."""
    if not table.num_rows:
        return table
    columns = {key: _integers(table, key) for key in keys}
    order = np.lexsort([columns[key] for key in reversed(keys)])  # Stable: among equal keys the last is the newest.
    last = np.zeros(len(order), dtype=bool)
    last[-1] = True
    for key in per or keys:
        last[:-1] |= np.diff(columns[key][order]) != 0
    return table.take(pa.array(order[last]))


def _integers(table: Table, column: str) -> np.ndarray:
    return table.column(column).to_numpy()
