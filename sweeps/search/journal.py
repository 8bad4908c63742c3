"""Optuna's journal file, with many entries in one write: a pack of 64 trials is asked, and told, by one fsync."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend

TORN_SECONDS = 2.0
"""Age from which a line without an end counts as torn."""

Entry = dict[str, Any]


class Journal(BaseJournalBackend):
    """The journal of one study; one process writes it, any number may read.

    Others may add what concerns no trial, such as a note in optuna-dashboard. Where that comes between two writes of
    this process, it stays unknown here.

    Entries that could not be written, as on a full disk, are kept and go first in the next write.
    """

    def __init__(self, path: Path, *, check: Callable[[], None] = lambda: None) -> None:
        """Opens the file, or creates it; cuts off what a crash left of a line.

        Args:
            path: The file.
            check: Raises a SweepError if this process may write no more; called right before each write.
        """
        _mend(path)
        self._path, self._check, self._file = path, check, JournalFileBackend(str(path))
        self._read = 0  # entries that Optuna has seen
        self._passed_over = 0  # entries of others among them in the file, which it has not seen
        self._gathered: list[Entry] = []
        self._open = False
        self.storage = JournalStorage(self)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Entries that are made within are written at the end, also when it ends by an error.

        Raises:
            OSError: If they could not be written; they are kept, and Optuna goes on as if they had been.
        """
        if self._open:
            yield
            return
        self._open = True
        try:
            yield
        finally:
            self._open = False
            self._write()

    def read_logs(self, log_number_from: int) -> Iterator[Entry]:
        """The entries from this one on, those not written yet included."""
        if not self._gathered:
            self._read = log_number_from
            for entry in self._file.read_logs(log_number_from + self._passed_over):
                self._read += 1
                yield entry
            return
        yield from self._gathered[log_number_from - self._read :]

    def append_logs(self, logs: list[Entry]) -> None:
        """Adds entries."""
        self._gathered += logs
        if not self._open:
            self._write()

    def _write(self) -> None:
        if not self._gathered:
            return
        self._check()
        size = self._path.stat().st_size
        try:
            self._file.append_logs(self._gathered)
        except OSError:
            with contextlib.suppress(OSError):
                os.truncate(self._path, size)  # half a line would make the file unreadable
            raise
        # From here on they are written, even if the disk cannot be reached any more.
        written, self._gathered = len(self._gathered), []
        before, self._read = self._read + self._passed_over, self._read + written
        # Optuna has seen these; its reader must pass over them once, or it would look for the next from the start.
        self._passed_over += sum(1 for _ in self._file.read_logs(before)) - written


def _mend(path: Path) -> None:
    """Cuts off a last line that a crash or a full disk left unfinished: Optuna would refuse the whole file."""
    while path.exists() and (end := _last_byte(path)) and end != b"\n":
        if time.time() - path.stat().st_mtime < TORN_SECONDS:
            time.sleep(0.1)  # another process may be writing it
            continue
        with path.open("r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 1))
        return file.read(1)
