"""Rows in a folder of numbered Parquet files with one schema.

One process writes, any number may read at the same time. Every flush adds one file; a file is never changed. A row
that was written twice, as after a crash, is read once.
"""

import difflib
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import Table

from sweeps.errors import SweepError
from sweeps.store.columns import integers, rows
from sweeps.store.paths import TEMPORARY_PREFIX, replacing

_LOG = logging.getLogger(__name__)
_PART = re.compile(r"part-(\d+)\.parquet")
_READ_TRIES = 5
TORN = ".torn"
"""Ending of a file that was set aside."""
DEFAULT = b"default"
"""Key of a column's metadata: its value, as text, in the rows of a file that was written before it was added."""


class Parts:
    """One folder of numbered files with one schema, and the rows that wait to be written to it.

    Args:
        folder: Created if missing. What a dead writer left unfinished is removed, and files that cannot be read are
            set aside.
        schema: Of every file.
        keys: Columns whose values name a row; whole numbers that no row may lack.
        check: Raises a SweepError if this process may write no more; called right before a file gets its name.

    Raises:
        SweepError: If the folder cannot be written.
    """

    def __init__(
        self, folder: Path, schema: pa.Schema, *, keys: tuple[str, ...], check: Callable[[], None] = lambda: None
    ) -> None:
        self._folder, self._schema, self._keys, self._check = folder, schema, keys, check
        self._waiting: list[Table] = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for unfinished in folder.glob(f"{TEMPORARY_PREFIX}*"):
                unfinished.unlink()
            for path in _parts(folder):
                _set_aside_if_torn(path, schema)
        except OSError as error:
            raise SweepError(
                f"{folder}: must be a folder that can be written, but got: {error}. Choose another --root."
            ) from error
        used = (_PART.match(path.name) for path in folder.iterdir())  # the numbers of those set aside, too
        self._number = max((int(found[1]) for found in used if found), default=0)

    def add(self, rows: Table) -> None:
        """Keeps rows of the folder's schema until the next flush; see `table`."""
        if rows.num_rows:
            self._waiting.append(rows)

    def flush(self) -> None:
        """Writes what was added.

        Raises:
            SweepError: If writing failed. The rows are kept, and the next flush tries again.
        """
        if self._waiting:
            self._write(pa.concat_tables(self._waiting))
            self._waiting.clear()

    def compact(self, more_than: int) -> None:
        """Merges the files if there are more than `more_than`; a crash on the way leaves duplicates, loses nothing."""
        found = [(path, _read_file(path, self._schema)) for path in _parts(self._folder)]
        merged = [(path, table) for path, table in found if table is not None]
        if len(merged) > max(more_than, 1):
            self._write(newest(pa.concat_tables([table for _, table in merged]), self._keys))
            for path, _ in merged:
                path.unlink()

    def _write(self, table: Table) -> None:
        self._number += 1
        path = self._folder / _name(self._number)
        try:
            with replacing(path, self._place) as temporary:
                pq.write_table(table, temporary, compression="zstd")
        except FileExistsError:  # of a driver that wrote it while this one took over
            self._write(table)
        except OSError as error:
            self._number -= 1
            raise SweepError(
                f"{path}: must be written, but got: {error}. Free some space.",
                exit_code=1,
            ) from error

    def _place(self, temporary: Path, path: Path) -> None:
        self._check()
        os.link(temporary, path)  # which fails where there is such a file, and is how a lease is taken, too
        temporary.unlink()


def table(rows: Iterable[Mapping[str, Any]], schema: pa.Schema, *, keys: tuple[str, ...], where: str) -> Table:
    """Rows as a table: a wrong value fails where it was made, and not in a flush with other trials' rows.

    Args:
        rows: By column name; what is missing is null.
        schema: Of the table.
        keys: Columns that no row may lack.
        where: What the rows are, for messages.

    Raises:
        ValueError: If a row has an unknown column or lacks a key, or a value has the wrong type (for some types a
            TypeError).
    """
    rows = list(rows)
    for row in rows:
        unknown = sorted(set(row) - set(schema.names))
        if unknown:
            near = difflib.get_close_matches(unknown[0], schema.names, n=1, cutoff=0.0)[0]
            raise ValueError(f"{where}: every column must be known, but got {unknown}. Did you mean {near!r}?")
        missing = [key for key in keys if row.get(key) is None]
        if missing:
            raise ValueError(f"{where}: every row must have {', '.join(keys)}, but got no {missing}. Add it.")
    return Table.from_pylist(rows, schema=schema)


def read(folder: Path, schema: pa.Schema, *, where: pc.Expression | None = None) -> Table:
    """The rows of a folder in the order they were written.

    Args:
        folder: Where its files are.
        schema: Of the rows; other columns are not read.
        where: Which rows; parts of files without any are not read.
    """
    for _ in range(_READ_TRIES):
        try:
            tables = [table for path in _parts(folder) if (table := _read_file(path, schema, where)) is not None]
        except FileNotFoundError:
            continue  # The writer compacted after we had listed: the rows now live in a newer file.
        return pa.concat_tables(tables) if tables else Table.from_batches([], schema)
    raise SweepError(f"{folder}: files were compacted while being read. Try again.", exit_code=1)


class Later(NamedTuple):
    """The rows of some neighbouring files of a folder."""

    rows: Table
    """In the order they were written."""
    stamps: np.ndarray
    """When the file of each row was written, in milliseconds."""
    last: int
    """Number of the last file."""
    is_all: bool
    """Whether there are no later files."""
    is_torn: bool
    """Whether a file could not be read: its rows are missing."""


def row_counts(folder: Path, known: Mapping[int, int]) -> dict[int, int]:
    """The number of rows of each readable file, by its number; those that are `known` are not opened."""
    counts: dict[int, int] = {}
    for number in _numbered(folder):
        with suppress(pa.ArrowException, OSError):
            counts[number] = known[number] if number in known else pq.read_metadata(folder / _name(number)).num_rows
    return counts


def last_number(folder: Path) -> int:
    """Number of the last file; 0 if there is none."""
    return max(_numbered(folder), default=0)


def read_after(
    folder: Path, schema: pa.Schema, number: int, *, up_to: int | None = None, most_rows: int | None = None
) -> Later:
    """The rows of the files after the one of a number. A merged file comes after all that it merges.

    Args:
        folder: Where the files are.
        schema: Of the rows.
        number: Of the last file that is not read.
        up_to: Number of the last file that may be read; all by default.
        most_rows: No further file is read once there are so many rows; all by default.

    Raises:
        SweepError: If the files kept vanishing.
    """
    for _ in range(_READ_TRIES):
        numbers = sorted(at for at in _numbered(folder) if number < at <= (at if up_to is None else up_to))
        tables, stamps = [Table.from_batches([], schema)], [np.zeros(0, dtype=np.int64)]
        count = rows_read = 0
        try:
            for at in numbers:
                if most_rows is not None and rows_read >= most_rows:
                    break
                count, path = count + 1, folder / _name(at)
                if (table := _read_file(path, schema)) is not None:
                    tables.append(table)
                    stamps.append(np.full(table.num_rows, path.stat().st_mtime_ns // 10**6))
                    rows_read += table.num_rows
        except FileNotFoundError:
            continue  # the writer compacted meanwhile, see `read`
        last, is_torn = [number, *numbers][count], len(tables) <= count
        return Later(pa.concat_tables(tables), np.concatenate(stamps), last, count == len(numbers), is_torn)
    raise SweepError(f"{folder}: files were compacted while being read. Try again.", exit_code=1)


def _parts(folder: Path) -> list[Path]:
    return [folder / _name(number) for number in sorted(_numbered(folder))]


def _name(number: int) -> str:
    return f"part-{number:06d}.parquet"


def _numbered(folder: Path) -> list[int]:
    """The numbers of the files of a folder: thousands, while a session goes on."""
    names = os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208 - a path for each would take ten times as long
    return [int(found[1]) for name in names if (found := _PART.fullmatch(name))]


def _set_aside_if_torn(path: Path, schema: pa.Schema) -> None:
    """Renames a file that cannot be read: it would be a warning to every reader, for ever."""
    try:
        _load(path, schema)
    except (pa.ArrowException, OSError) as error:
        aside = path.with_name(path.name + TORN)
        path.rename(aside)
        _LOG.warning(
            "%s: must be a readable Parquet file, but got: %s. It is set aside as %s.",
            path,
            str(error).rstrip("."),
            aside.name,
        )


def _load(path: Path, schema: pa.Schema, where: pc.Expression | None = None) -> Table:
    if where is not None:
        return _conform(pq.read_table(path, filters=where), schema)
    with pq.ParquetFile(path) as file:
        present = [name for name in schema.names if name in file.schema_arrow.names]
        return _conform(file.read(columns=present), schema)


def _read_file(path: Path, schema: pa.Schema, where: pc.Expression | None = None) -> Table | None:
    try:
        return _load(path, schema, where)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        _LOG.warning(
            "%s: must be a readable Parquet file, but got: %s. Its rows are left out. Restore the file, or set it "
            "aside with 'sweeps resume', which writes its trials again from the study.",
            path,
            str(error).rstrip("."),
        )
        return None


def _conform(table: Table, schema: pa.Schema) -> Table:
    """`table` with exactly the columns of `schema`: a file of another version may have more or fewer."""
    if table.schema.equals(schema):
        return table
    has = set(table.column_names)
    columns = [
        table.column(field.name).cast(field.type) if field.name in has else _defaults(field, table.num_rows)
        for field in schema
    ]
    return Table.from_arrays(columns, schema=schema)


def _defaults(field: pa.Field, count: int) -> pa.Array:
    """The column of a file that lacks it: nulls, unless it has a default."""
    default = (field.metadata or {}).get(DEFAULT)
    if default is None:
        return pa.nulls(count, field.type)
    return pa.repeat(default.decode(), count).cast(field.type)  # imports pandas, for no reason


def newest(table: Table, keys: tuple[str, ...], *, per: tuple[str, ...] | None = None) -> Table:
    """The last row of each value of `per` (default: of each key), where rows are sorted by `keys`, then as written."""
    if not table.num_rows:
        return table
    columns = {key: integers(table, key) for key in keys}
    order = np.lexsort([columns[key] for key in reversed(keys)])  # Stable: among equal keys the last is the newest.
    last = np.zeros(len(order), dtype=bool)
    last[-1] = True
    for key in per or keys:
        last[:-1] |= np.diff(columns[key][order]) != 0
    if last.all() and (np.diff(order) == 1).all():
        return table  # A sweep whose files were merged is in order, and copying it would take longer than reading it.
    return rows(table, order[last])
