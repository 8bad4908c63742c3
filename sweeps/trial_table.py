"""The trials of a whole sweep as one file for other programs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyarrow import csv, parquet

from sweeps import results
from sweeps.errors import SweepError
from sweeps.pareto import Table
from sweeps.paths import SweepPaths, replacing

_WRITERS: dict[str, Callable[[Table, Path], Any]] = {
    "csv": lambda table, path: csv.write_csv(table.drop_columns("layers"), path),
    "parquet": lambda table, path: parquet.write_table(table, path, compression="zstd"),
}


def write(paths: SweepPaths, path: Path, *, kind: str) -> int:
    """Writes every ended trial of a sweep, one row each, with the columns of `sweeps.results.TRIALS`.

    Args:
        paths: Of the sweep.
        path: A new file.
        kind: `csv`, which has no place for the `layers` of a trial, or `parquet`.

    Returns:
        How many trials there are.

    Raises:
        SweepError: If the sweep is missing, or the file is there or cannot be written.
    """
    table = results.load(paths.root, paths.name)
    if path.is_dir() or not path.parent.is_dir():
        raise SweepError(f"--{kind} {path}: must be a file in a folder that exists, but is not. Choose another.")
    if path.exists():
        raise SweepError(f"--{kind} {path}: must be a new file, but there is one. Remove it, or choose another name.")
    try:
        with replacing(path) as temporary:
            _WRITERS[kind](table, temporary)
    except OSError as error:
        raise SweepError(f"--{kind} {path}: must be writable, but got: {error.strerror}. Choose another.") from error
    return table.num_rows
