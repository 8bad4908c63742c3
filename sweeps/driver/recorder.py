"""Writes what a session books, in a thread of its own: Tune's loop never waits for a disk."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from sweeps.driver.archive import NetworkArchive
from sweeps.driver.running_pack import Row
from sweeps.errors import SweepError
from sweeps.objectives import Key, network_name
from sweeps.results import ResultsWriter, Table, trials_table
from sweeps.search.study import SweepStudy
from sweeps.store.lease import Lease
from sweeps.tracking.mirror import Mirror
from sweeps.worker.messages import Lane

FLUSH_SECONDS = 5.0
"""Longest time that epochs are kept in memory."""
TURN_SECONDS = 1.0
"""Time between two looks at what there is to write."""

_LOG = logging.getLogger(__name__)


class Records(Protocol):
    """Where a session's results go; nothing of it waits for a disk or a network."""

    def started(self, rows: Sequence[Row]) -> None:
        """Rows of trials that are being trained."""
        ...

    def waiting(self, lanes: Sequence[Lane]) -> None:
        """Lanes that were in training, or are trained in part, are left to the next session."""
        ...

    def epochs(self, epochs: Table, networks: Mapping[Key, bytes], *, now: bool) -> None:
        """Rows of `sweeps.results.EPOCHS` and the artifacts of some of them, to be written soon, or now."""
        ...

    def ended(self, rows: Sequence[Row]) -> None:
        """Rows of trials that have ended."""
        ...

    def writing_failed(self, reason: str) -> None:
        """Something could not be written, and will be tried again."""
        ...


class Recorder:
    """Keeps one order for all trials: trained networks, Parquet, then the study and MLflow.

    So a network on the front has its artifact, and what the study calls ended is always in Parquet. Of a full disk
    nobody but the display hears: the rows stay in memory and are tried again.

    Args:
        writer: Of the Parquet files.
        study: Told how trials ended.
        mirror: In MLflow.
        archive: The front, with the trained networks.
        lease: Of the sweep: who has lost it writes nothing any more.
        forget: Called with trials whose end is written everywhere: nobody will train them again.
    """

    def __init__(
        self,
        writer: ResultsWriter,
        study: SweepStudy,
        mirror: Mirror,
        *,
        archive: NetworkArchive,
        lease: Lease,
        forget: Callable[[list[int]], None],
    ) -> None:
        self.disk_fault: str | None = None
        self._is_faulty = False
        self._writer, self._study, self._mirror = writer, study, mirror
        self.archive, self._forget = archive, forget
        self._lease, self._front = lease, archive.front
        self._started: list[Row] = []
        self._epochs: list[tuple[Table, Mapping[Key, bytes]]] = []
        self._ended: list[Row] = []
        self._unwritten: list[Row] = []
        self.untold: list[Row] = []
        self._booked = self._tried = 0
        self._urgent = self._closing = False
        self._flushed = time.monotonic()
        self._bug: BaseException | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def started(self, rows: Sequence[Row]) -> None:
        """Takes rows of trials that are being trained."""
        with self._changed:
            self._check()
            self._started += rows
            self._book_now()
        self._mirror.trials_started(rows)

    def waiting(self, lanes: Sequence[Lane]) -> None:
        """Takes lanes that are left to the next session."""
        self._mirror.trials_waiting({"trial": lane.trial, "attempt": lane.attempt} for lane in lanes)

    def epochs(self, epochs: Table, networks: Mapping[Key, bytes], *, now: bool = False) -> None:
        """Takes rows of `sweeps.results.EPOCHS` and artifacts, to be written within `FLUSH_SECONDS`, or now."""
        with self._changed:
            self._check()
            self._epochs.append((epochs, networks))
            self._booked += 1
            if now:
                self._book_now()

    def ended(self, rows: Sequence[Row]) -> None:
        """Takes rows of `sweeps.results.TRIALS`, to be written now."""
        with self._changed:
            self._check()
            self._ended += rows
            self._book_now()

    def writing_failed(self, reason: str) -> None:
        """Something could not be written, and will be tried again."""
        self.disk_fault = reason

    def wait(self) -> None:
        """Returns when everything taken so far was written, or could not be."""
        with self._changed:
            self._book_now()
            booked = self._booked
            self._changed.wait_for(lambda: self._tried >= booked or self._bug or self._closing)
            self._check()

    def close(self, *, patience_seconds: float = 0.0) -> str | None:
        """Writes everything that is left and ends the thread.

        Args:
            patience_seconds: How long to wait for room where there is none; Ctrl-C waits no longer.

        Returns:
            Why not everything could be written, if so: of a full disk, or one that cannot be reached.

        Raises:
            SweepError: If another driver has taken over.
        """
        self.stop()
        self._check()
        until = time.monotonic() + patience_seconds
        fault = self._write_all()
        try:
            if fault and patience_seconds:
                text = "%s The session waits %.0f s for that; Ctrl-C gives up what is not written yet."
                _LOG.warning(text, fault, patience_seconds)
            while fault and time.monotonic() < until:
                time.sleep(1)
                fault = self._write_all()
        except KeyboardInterrupt:
            return fault
        try:
            self._writer.compact(more_than=1)
        except (SweepError, OSError) as error:  # nothing is lost by it
            _LOG.warning("%s", error)
        return fault

    def _write_all(self) -> str | None:
        if not self._holds():
            return f"{self._lease.path.parent}: must be readable, but got: {self.disk_fault}."
        self._take()
        if not self._is_flushed():
            return self.disk_fault
        self._settle()
        return f"the study must be written, but got: {self.disk_fault}. Free some space." if self.untold else None

    def stop(self) -> None:
        """Ends the thread after what it is at."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _book_now(self) -> None:
        self._booked += 1
        self._urgent = True
        self._changed.notify_all()

    def _check(self) -> None:
        if self._bug:
            raise self._bug

    def _work(self) -> None:
        try:
            while not self._closing:
                with self._changed:
                    self._changed.wait_for(lambda: self._urgent or self._closing, timeout=TURN_SECONDS)
                self._turn()
        except BaseException as error:
            with self._changed:
                self._bug = error
                self._changed.notify_all()

    def _turn(self) -> None:
        with self._changed:
            booked, urgent, self._urgent = self._booked, self._urgent, False
        if self._holds():
            self._take()
            if urgent or time.monotonic() - self._flushed > FLUSH_SECONDS:
                self._flush()
        self._log_fault()
        with self._changed:
            self._tried = booked
            self._changed.notify_all()

    def _log_fault(self) -> None:
        """Says in the log when writing begins to fail, and when it works again; the display shows it meanwhile."""
        if bool(self.disk_fault) == self._is_faulty:
            return
        self._is_faulty = bool(self.disk_fault)
        if self._is_faulty:
            _LOG.info("writing failed: %s Rows stay in memory; it is tried again", self.disk_fault)
        else:
            _LOG.info("writing works again")

    def _holds(self) -> bool:
        """Whether the lease is known to hold: while its folder cannot be reached nothing is written, as on a full disk.

        Raises:
            SweepError: If another driver has taken over.
        """
        try:
            self._lease.check()
        except OSError as error:
            self.disk_fault = str(error)
            return False
        return True

    def _take(self) -> None:
        with self._changed:
            started, self._started = self._started, []
            epochs, self._epochs = self._epochs, []
            ended, self._ended = self._ended, []
        self._note_starts(started)
        for table, networks in epochs:
            self._writer.add_epochs(table)
            self._keep(table, networks)
        ended = [row | self.archive.best_of(row["trial"]) for row in ended]
        self._writer.add_trials(trials_table([*started, *ended]))
        self._unwritten += ended

    def _keep(self, table: Table, networks: Mapping[Key, bytes]) -> None:
        try:
            self.archive.add(table, networks)
        except OSError as error:
            # Without its artifact a network on the front can be trained again; the sweep goes on.
            _LOG.warning("networks %s: could not be kept: %s", ", ".join(map(network_name, networks)), error)

    def _note_starts(self, rows: Sequence[Row]) -> None:
        """Before any epoch of these trials is written: a later session must know that they had been started."""
        if not rows:
            return
        try:
            self._study.start({row["trial"]: row["attempt"] for row in rows})
        except OSError as error:  # kept by the study, as in `_settle`
            self.disk_fault = str(error)

    def _flush(self) -> None:
        self._flushed = time.monotonic()
        if self._is_flushed():
            self.disk_fault = None
            self._settle()

    def _is_flushed(self) -> bool:
        """Writes what Parquet lacks; whether that succeeded.

        Raises:
            SweepError: If another driver has taken over meanwhile.
        """
        try:
            self._writer.flush()
        except SweepError as error:
            self._holds()  # if not, that is what happened, and no fault of the disk
            self.disk_fault = error.message
            return False
        return True

    def _settle(self) -> None:
        """What is in Parquet now goes everywhere else."""
        written, self._unwritten = self._unwritten, []
        self.untold += written
        self._mirror.parts_written()
        with suppress(OSError):  # what is left over is found by the next session
            self.archive.settle()
        if self.archive.front != self._front:
            self._front = self.archive.front
            self._mirror.mark_front(self._front)
        if not self.untold:
            return
        try:
            self._study.tell(self.untold)
        except OSError as error:  # the study keeps what it could not write and tries again
            self.disk_fault = str(error)
            return
        told, self.untold = self.untold, []
        self._forget([row["trial"] for row in told])
