"""A sweep's results as Parquet files: one row per ended trial, one row per trial and epoch.

One process writes (the driver of the sweep), any number may read at the same time. Every flush adds one file per
folder; a file is never changed. A row that was written twice, as after a crash, is read once.
"""

import dataclasses
import difflib
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import Table

from supermask.config import RULES, TrainConfig
from sweeps.errors import SweepError
from sweeps.store import parts
from sweeps.store.cache import shown
from sweeps.store.columns import equals, integers, rows
from sweeps.store.parts import Parts, newest, read
from sweeps.store.paths import SweepPaths, check_inside, replacing, sweep_names

_ARROW_KINDS: dict[type, pa.DataType] = {int: pa.int64(), float: pa.float64(), str: pa.string()}
_UTC = pa.timestamp("us", tz="UTC")

_LAYERS = pa.list_(pa.struct([("name", pa.string()), ("remaining", pa.float32()), ("inverted", pa.float32())]))
"""Mask statistics by layer, from input to output; float32, because a deep network has over a hundred layers."""

CONFIG_COLUMNS = tuple(field.name for field in dataclasses.fields(TrainConfig))
"""Columns of the training configuration."""

BEST = ("best_epoch", "best_estimate", "best_standard_error", "best_remaining")
"""Columns of the best network of a trial, the one that `sweeps.pareto.best_of_trials` finds."""

TRIALS = pa.schema(
    [
        ("trial", pa.int64()),
        ("state", pa.string()),
        ("reason", pa.string()),
        ("attempt", pa.int64()),
        ("pack", pa.int64()),
        ("lane", pa.int64()),
        *(
            pa.field(name, _ARROW_KINDS[RULES[name].kind], metadata={parts.DEFAULT: str(getattr(TrainConfig, name))})
            for name in CONFIG_COLUMNS
        ),
        ("epochs_done", pa.int64()),
        ("train_loss", pa.float64()),
        ("val_loss", pa.float64()),
        ("val_accuracy", pa.float64()),
        ("estimate", pa.float64()),
        ("standard_error", pa.float64()),
        ("remaining", pa.float64()),
        ("inverted", pa.float64()),
        ("layers", _LAYERS),
        ("test_loss", pa.float64()),
        ("test_accuracy", pa.float64()),
        *((name, pa.int64() if name == "best_epoch" else pa.float64()) for name in BEST),
        ("started", _UTC),
        ("ended", _UTC),
        ("seconds", pa.float64()),
        ("host", pa.string()),
        ("device", pa.string()),
        ("dtype", pa.string()),
        ("classes", pa.int64()),
        ("commit", pa.string()),
    ]
)
"""One row per trial, written when it starts, with the state `running`, and again when it has ended.

Accuracies and fractions lie in [0, 1]; metrics are those of the last epoch, and null if none ended. Columns of the
best network are null until the trial has ended, or if it has none.
"""

EPOCHS = pa.schema(
    [
        ("trial", pa.int64()),
        ("attempt", pa.int64()),
        ("epoch", pa.int64()),
        ("train_loss", pa.float64()),
        ("val_loss", pa.float64()),
        ("val_accuracy", pa.float64()),
        ("estimate", pa.float64()),
        ("standard_error", pa.float64()),
        ("remaining", pa.float64()),
        ("inverted", pa.float64()),
        ("layers", _LAYERS),
        ("test_loss", pa.float64()),
        ("test_accuracy", pa.float64()),
        ("seconds", pa.float64()),
        ("ended", _UTC),
    ]
)
"""One row per trial, attempt and epoch (1-based). `seconds` is the lane's share of its pack's time, `estimate` and
`standard_error` are those of `sweeps.estimate`. The test set is read after the last epoch of a trial only."""

RUNNING = "running"
"""State of the row that a trial has until it ends."""

_TRIAL_KEYS = ("trial", "attempt")
_EPOCH_KEYS = ("trial", "attempt", "epoch")


class ResultsWriter:
    """Writes the results of one sweep; at most one writer per folder.

    Args:
        folder: The sweep's folder, `ROOT/NAME`; created if missing. Unfinished files of a dead writer are removed.
        check: Raises a SweepError if this process may write no more; called before each file.

    Raises:
        SweepError: If the folder cannot be written.
    """

    def __init__(self, folder: Path, *, check: Callable[[], None] = lambda: None) -> None:
        self._trials = Parts(folder / "trials", TRIALS, keys=_TRIAL_KEYS, check=check)
        self._epochs = Parts(folder / "epochs", EPOCHS, keys=_EPOCH_KEYS, check=check)

    def add_epochs(self, epochs: Table) -> None:
        """Buffers a table of `EPOCHS` until the next flush; see `epochs_table`."""
        self._epochs.add(epochs)

    def add_trials(self, trials: Table) -> None:
        """Buffers a table of `TRIALS` until the next flush; see `trials_table`."""
        self._trials.add(trials)

    def flush(self) -> None:
        """Writes the buffered rows, epochs first, so that a trial on disk has all its epochs there.

        Raises:
            SweepError: If writing failed. The rows stay buffered and are retried by the next flush.
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


def trials_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """Rows of trials as a table with the columns of `TRIALS`. Times without a zone are taken as UTC.

    Raises:
        ValueError: If a row has an unknown column or lacks a key, or a value has the wrong type (for some types a
            TypeError).
    """
    return parts.table(rows, TRIALS, keys=_TRIAL_KEYS, where="trials")


def epochs_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """Rows of epochs as a table with the columns of `EPOCHS`; see `trials_table`."""
    return parts.table(rows, EPOCHS, keys=_EPOCH_KEYS, where="epochs")


def of_trials(epochs: Table, trials: Container[int]) -> Table:
    """The rows of `epochs` that belong to these trials; the table itself if all do."""
    present = epochs.column("trial").unique().to_pylist()
    if all(trial in trials for trial in present):
        return epochs
    wanted = [trial for trial in present if trial in trials]
    return epochs.filter(pc.field("trial").isin(wanted))


def up_to(epochs: Table, last: Mapping[int, int]) -> Table:
    """The rows of `epochs` until the last epoch of each trial; those of other trials are left out."""
    limits = np.array([last.get(trial, 0) for trial in integers(epochs, "trial").tolist()], dtype=np.int64)
    return epochs.filter(pa.array(integers(epochs, "epoch") <= limits))


def load(
    root: Path | str,
    name: str,
    *,
    every_attempt: bool = False,
    columns: Collection[str] | None = None,
    running: bool = False,
) -> Table:
    """The trials of a sweep.

    Args:
        root: The folder of all sweeps.
        name: The sweep.
        every_attempt: Whether a trial that was tried again has a row per attempt, rather than one for the latest.
        columns: Names out of `TRIALS`, to read these (and the keys, trial and attempt) alone; all by default.
        running: Whether trials that were started and have not ended count, too.

    Returns:
        A table with the columns of `TRIALS`, or those asked for, sorted by trial (and attempt). A file that
        cannot be read is left out with a logged warning.

    Raises:
        SweepError: If there is no such sweep.
    """
    wanted = TRIALS.names if columns is None else {*_TRIAL_KEYS, *columns}
    found = _read_trials(folder_of(root, name), {"state", *wanted}, every_attempt=every_attempt, running=running)
    return found if "state" in wanted else found.drop_columns(["state"])


def _read_trials(
    paths: SweepPaths,
    columns: Collection[str] | None = None,
    *,
    where: pc.Expression | None = None,
    every_attempt: bool = False,
    running: bool = False,
) -> Table:
    table = read(
        paths.trials, pa.schema([field for field in TRIALS if columns is None or field.name in columns]), where=where
    )
    table = table if running else ended_only(table)
    return newest(table, _TRIAL_KEYS, per=_TRIAL_KEYS if every_attempt else ("trial",))


def ended_only(trials: Table) -> Table:
    """The rows of trials that have ended."""
    is_running = equals(trials, "state", RUNNING)
    return rows(trials, ~is_running) if is_running.any() else trials


def load_epochs(
    root: Path | str, name: str, *, trials: Collection[int] | None = None, latest_attempt: bool = True
) -> Table:
    """The epochs of a sweep, running trials' included.

    Args:
        root: The folder of all sweeps.
        name: The sweep.
        trials: Only of these; None is all.
        latest_attempt: Whether to keep only the attempt that the trial's row names, or the highest while it has none.

    Returns:
        A table with the columns of `EPOCHS`, sorted by trial, attempt and epoch.

    Raises:
        SweepError: If there is no such sweep.
    """
    paths = folder_of(root, name)
    where = None if trials is None else pc.field("trial").isin(list(trials))
    table = newest(read(paths.epochs, EPOCHS, where=where), _EPOCH_KEYS)
    if not latest_attempt or not table.num_rows:
        return table
    trials, attempts = integers(table, "trial"), integers(table, "attempt")
    known, group = np.unique(trials, return_inverse=True)
    wanted = np.zeros(len(known), dtype=np.int64)
    np.maximum.at(wanted, group, attempts)
    ended = _read_trials(paths, (*_TRIAL_KEYS, "state"), where=where)
    place = np.searchsorted(known, integers(ended, "trial"))
    has_epochs = np.isin(integers(ended, "trial"), known)
    wanted[place[has_epochs]] = integers(ended, "attempt")[has_epochs]
    return rows(table, attempts == wanted[group])


def attempts(root: Path | str, name: str, *, first: int) -> dict[int, int]:
    """Highest attempt of each trial in its written epochs.

    Args:
        root: The folder of all sweeps.
        name: The sweep.
        first: The lowest number of a trial to look for.

    Raises:
        SweepError: If there is no such sweep.
    """
    epochs = read(folder_of(root, name).epochs, EPOCHS, where=pc.field("trial") >= first).select(["trial", "attempt"])
    found = epochs.group_by("trial").aggregate([("attempt", "max")])
    return dict(zip(found.column("trial").to_pylist(), found.column("attempt_max").to_pylist(), strict=True))


def load_trials(root: Path | str, name: str, trials: Collection[int]) -> tuple[Table, Table]:
    """Reads some trials without keeping the others in memory.

    Args:
        root: The folder of all sweeps.
        name: The sweep.
        trials: Their numbers.

    Returns:
        The latest rows of those that have ended, as from `load`, and all their epochs of every attempt.

    Raises:
        SweepError: If there is no such sweep.
    """
    paths = folder_of(root, name)
    where = pc.field("trial").isin(list(trials))
    ended = _read_trials(paths, where=where)
    return ended, newest(read(paths.epochs, EPOCHS, where=where), _EPOCH_KEYS)


def folder_of(root: Path | str, name: str) -> SweepPaths:
    """Where a sweep is kept.

    Raises:
        SweepError: If there is no such sweep.
    """
    paths = SweepPaths(Path(root), name)
    if paths.folder.is_dir():
        return paths
    near = difflib.get_close_matches(name, sweep_names(paths.root), n=3, cutoff=0.4)
    guess = f", or did you mean {' or '.join(repr(other) for other in near)}?" if near else "."
    raise SweepError(
        f"sweep {name}: must exist under {shown(paths.root)}, but there is no such folder. "
        f"Run 'sweeps list --root {shown(paths.root)}' to see what there is{guess}"
    )


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
    table = load(paths.root, paths.name)
    if path.is_dir() or not path.parent.is_dir():
        raise SweepError(f"--{kind} {path}: must be a file in a folder that exists, but is not. Choose another.")
    if path.exists():
        raise SweepError(f"--{kind} {path}: must be a new file, but there is one. Remove it, or choose another name.")
    try:
        with replacing(path) as temporary:
            _write(table, temporary, kind)
    except OSError as error:
        raise SweepError(f"--{kind}: writing {path} failed: {error.strerror}. Choose another.") from error
    return table.num_rows


def _write(table: Table, path: Path, kind: str) -> None:
    from pyarrow import csv, parquet

    if kind == "csv":
        csv.write_csv(table.drop_columns("layers"), path)
    else:
        parquet.write_table(table, path, compression="zstd")


def check_exists(paths: SweepPaths) -> None:
    """Checks that there is a sweep.

    Raises:
        SweepError: If there is none, or a part of it lies elsewhere.
    """
    check_inside(paths)
    if not paths.space.exists():
        load(paths.root, paths.name)  # names the sweeps that exist
