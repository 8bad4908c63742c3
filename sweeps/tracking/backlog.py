"""Parquet parts as the outbox of MLflow: what they hold after an offset, trial by trial.

Parts are numbered and never changed, and a part that merges others has a higher number than all of them. So the numbers
of the last parts that were taken, one of each folder, are an offset: all rows of later parts may be new. Rows that were
taken before, as from a merged part, are told apart by the runs.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sweeps import results
from sweeps.results import EPOCHS, TRIALS
from sweeps.store import parts
from sweeps.store.columns import integers, rows
from sweeps.store.paths import SweepPaths

BLOCK = 256
"""Trials whose rows are Python objects at a time."""


class Offset(NamedTuple):
    """Up to which parts the rows of a sweep were taken."""

    epochs: int = 0
    """Number of the last part of epochs."""
    trials: int = 0
    """Number of the last part of trials."""
    rows: int = 0
    """How many rows these parts and all earlier ones had."""

    def __str__(self) -> str:
        """As text, from which `parse` makes it again."""
        return f"{self.epochs} {self.trials} {self.rows}"

    @classmethod
    def parse(cls, text: str | None) -> "Offset":
        """From text; the start where that is missing, or not of this version."""
        numbers = (text or "").split()
        return cls(*map(int, numbers)) if len(numbers) == len(cls._fields) and "".join(numbers).isdecimal() else cls()

    def at_most(self, other: "Offset") -> "Offset":
        """The earlier of both, folder by folder."""
        return Offset(*map(min, self, other))


@dataclass(frozen=True)
class News:
    """Rows of one trial.

    Attributes:
        trial: Its number.
        epochs: As they were written, with the columns of `sweeps.results.EPOCHS` and maybe `stamp`, in milliseconds.
        ended: The latest row with the columns of `sweeps.results.TRIALS`; None if there is none.
    """

    trial: int
    epochs: Sequence[Mapping[str, Any]]
    ended: Mapping[str, Any] | None

    @property
    def keys(self) -> set[tuple[int, int]]:
        """What tells its rows apart: attempt and epoch, which is 0 for the end."""
        ended = {(self.ended["attempt"], 0)} if self.ended else set[tuple[int, int]]()
        return ended | {(row["attempt"], row["epoch"]) for row in self.epochs}


class Length:
    """Counts the rows of a sweep's parts; no file is opened twice."""

    def __init__(self, paths: SweepPaths) -> None:
        self._paths = paths
        self._epochs: dict[int, int] = {}
        self._trials: dict[int, int] = {}

    def end(self) -> Offset:
        """The offset after all parts."""
        self._trials = parts.row_counts(self._paths.trials, self._trials)
        self._epochs = parts.row_counts(self._paths.epochs, self._epochs)
        numbers = max(self._epochs, default=0), max(self._trials, default=0)
        return Offset(*numbers, sum(self._epochs.values()) + sum(self._trials.values()))

    def after(self, offset: Offset) -> int:
        """How many rows lie after an offset; after a merge that is exact only if no row was written twice."""
        end = self.end()
        is_behind = end.epochs > offset.epochs or end.trials > offset.trials
        return max(end.rows - offset.rows, 1) if is_behind else 0

    def offset(self, epochs: int, trials: int) -> Offset:
        """The offset after the parts of these numbers."""
        self.end()
        count = sum(rows for number, rows in self._epochs.items() if number <= epochs)
        return Offset(epochs, trials, count + sum(rows for number, rows in self._trials.items() if number <= trials))


class Batch:
    """The parts after an offset, or some of them.

    The end of a trial is in no batch before its last epoch: epochs are written first, so the files of trials are looked
    for first, and read once no epochs are left.

    Attributes:
        epochs: Number of the last part of epochs.
        trials: Number of the last part of trials.
        is_all: Whether there are no further parts.
        is_torn: Whether a part could not be read: its rows are missing.

    Args:
        paths: Of the sweep.
        offset: Where it begins.
        most_rows: No further part of epochs is read once there are so many; all by default.

    Raises:
        SweepError: If the files kept vanishing.
    """

    def __init__(self, paths: SweepPaths, offset: Offset, *, most_rows: int | None = None) -> None:
        newest = parts.last_number(paths.trials)
        epochs = parts.read_after(paths.epochs, EPOCHS, offset.epochs, most_rows=most_rows)
        newest = newest if epochs.is_all else offset.trials
        trials = parts.read_after(paths.trials, TRIALS, offset.trials, up_to=newest)
        self._ended = parts.newest(results.ended_only(trials.rows), ("trial", "attempt"), per=("trial",))
        order = np.argsort(integers(epochs.rows, "trial"), kind="stable")
        self._epochs, self._stamps = rows(epochs.rows, order), epochs.stamps[order]
        self.epochs, self.trials = epochs.last, trials.last
        self.is_all, self.is_torn = epochs.is_all, epochs.is_torn or trials.is_torn

    def blocks(self) -> Iterator[list[News]]:
        """All rows by trial, of at most `BLOCK` trials at a time."""
        trained, ended = integers(self._epochs, "trial"), integers(self._ended, "trial")
        numbers = np.union1d(trained, ended)
        for start in range(0, len(numbers), BLOCK):
            block = numbers[start : start + BLOCK]
            found: dict[int, list[dict[str, Any]]] = {number: [] for number in block.tolist()}
            first, end = np.searchsorted(trained, [block[0], block[-1] + 1])
            for row, stamp in zip(
                self._epochs.slice(first, end - first).to_pylist(), self._stamps[first:end], strict=True
            ):
                found[row["trial"]].append(row | {"stamp": int(stamp)})
            first, end = np.searchsorted(ended, [block[0], block[-1] + 1])
            last = {row["trial"]: row for row in self._ended.slice(first, end - first).to_pylist()}
            yield [News(trial, epochs, last.get(trial)) for trial, epochs in found.items()]


def whole(paths: SweepPaths, trials: Iterable[int]) -> Iterator[News]:
    """All rows of some trials, whenever they were written.

    Raises:
        SweepError: If the files kept vanishing.
    """
    numbers = list(trials)
    if not numbers:
        return iter(())
    ended, epochs = results.load_trials(paths.root, paths.name, numbers)
    last = {row["trial"]: row for row in ended.to_pylist()}
    trained: dict[int, list[dict[str, Any]]] = {}
    for row in epochs.to_pylist():
        trained.setdefault(row["trial"], []).append(row)
    return (News(trial, trained.get(trial, []), last.get(trial)) for trial in numbers)
