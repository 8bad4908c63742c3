"""The mirror of a running sweep in MLflow: filled from the background, allowed to fail."""

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from search_spaces.space import SearchSpace
from sweeps.store.paths import SweepPaths
from sweeps.tracking.experiment import Experiment
from sweeps.tracking.mlflow_store import explain, open_store, redact
from sweeps.tracking.overview import Overview
from sweeps.tracking.uploader import LAST, Notice, Uploader

_FIRST_DELAY_SECONDS, _LAST_DELAY_SECONDS = 0.5, 30.0
_DEAD_SECONDS = 5.0  # without a row that arrives: so long somebody who closes waits for a store that has failed
_REST = 3  # times what a turn took: the thread shares the interpreter with the sweep's own loop

_LOG = logging.getLogger(__name__)


class Mirror:
    """Mirrors a running sweep. Its methods return at once, and raise nothing.

    What lasts comes from the Parquet parts, see `Uploader`: memory does not grow while a store is slow or dead, and one
    that fails is tried again, after a growing delay, for ever. What is told here beside them shows a sweep that runs,
    and is lost if the process dies.

    Args:
        uri: A store of MLflow: a database or a server's address.
        sweep: The sweep's name, which becomes the experiment's.
        root: The folder of all sweeps; artifacts are kept there if `uri` is its default store.
        interval_seconds: Least time between two turns.
    """

    def __init__(self, uri: str, sweep: str, *, root: Path, interval_seconds: float = 2.0) -> None:
        self._name, self._interval_seconds = redact(uri), interval_seconds
        self._uploader = Uploader(
            lambda: Experiment(open_store(uri, sweep, root), sweep),
            SweepPaths(root, sweep),
            name=self._name,
        )
        self._has_failed = False
        self._wake, self._closing, self._over = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"mirror-{self._name}", daemon=True)
        self._thread.start()

    @property
    def lag(self) -> int:
        """Rows in Parquet that MLflow has not taken, as of the last turn."""
        return self._uploader.lag

    @property
    def rejected(self) -> Mapping[int | str, str]:
        """What the store refused for good, and why: by number of the trial, or `parameters`, `front` or `end`."""
        return self._uploader.rejected

    def start_sweep(
        self, params: Mapping[str, Any], tags: Mapping[str, Any], *, space: SearchSpace | None = None
    ) -> None:
        """A session begins or goes on. A parameter that changed since an earlier session is also kept as a tag.

        It is sent with whatever comes next, when trials have begun: importing MLflow would make them wait for seconds.

        Args:
            params: Of the sweep.
            tags: Of the sweep.
            space: What MLflow's page is to show the columns of.
        """
        params, tags = dict(params), {**tags, "state": "running"}
        self._uploader.tell({"parameters": lambda experiment: experiment.begin(params, tags, space)})

    def trials_started(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Trials begin, or begin again: `trial`, `attempt`, and what else is known of `sweeps.results.TRIALS`."""
        self._hint(rows, "running")

    def trials_waiting(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Trials were interrupted and wait for the next session: `trial` and `attempt`."""
        self._hint(rows, "waiting")

    def mark_front(self, front: Mapping[int, Sequence[int]]) -> None:
        """The networks of these epochs, by trial, are the front now: the runs of all trials are tagged accordingly."""
        epochs = dict(front)
        self._tell({"front": lambda experiment: experiment.mark_front(epochs)})

    def parts_written(self) -> None:
        """There may be new Parquet parts."""
        self._wake.set()

    def finish(self, state: str, overview: Overview | None = None) -> None:
        """The session ends; sent after everything else. `finished` and `failed` are shown so, all else as killed.

        Args:
            state: How it ended.
            overview: The sweep as a whole; None when no trial has ended.
        """
        self._tell({LAST: lambda experiment: experiment.conclude(state, overview)})

    def close(self, timeout_seconds: float) -> int:
        """Sends what is left, for at most `timeout_seconds`; a store that is dead is soon left.

        Returns:
            The number of rows that MLflow has not taken; 0 means that the mirror is equal.
        """
        self._uploader.moved = time.monotonic()
        self._closing.set()
        self._wake.set()
        until = time.monotonic() + timeout_seconds
        while self._thread.is_alive() and time.monotonic() < until and not self._is_dead():
            self._thread.join(0.05)
        self._uploader.is_over = True
        self._over.set()
        return self._uploader.missing()

    def _hint(self, rows: Iterable[Mapping[str, Any]], state: str) -> None:
        stamp = int(time.time() * 1000)
        told = [{**row, "state": state} for row in rows]
        self._tell({row["trial"]: lambda experiment, row=row: experiment.hint(row, stamp) for row in told})

    def _tell(self, notices: Mapping[Any, Notice]) -> None:
        self._uploader.tell(notices)
        self._wake.set()

    def _is_dead(self) -> bool:
        return self._has_failed and time.monotonic() - self._uploader.moved > _DEAD_SECONDS

    def _work(self) -> None:
        delay = _FIRST_DELAY_SECONDS
        while not self._is_done():
            began = time.monotonic()
            try:
                is_all = self._uploader.turn()
            except Exception as error:
                self._warn(error)
                self._wake.set()
                # Whoever begins to close ends this pause, and has those that follow in full.
                (self._over if self._closing.is_set() else self._closing).wait(delay)
                delay = _FIRST_DELAY_SECONDS if self._closing.is_set() else min(2 * delay, _LAST_DELAY_SECONDS)
                continue
            self._has_failed, delay = False, _FIRST_DELAY_SECONDS
            if self._closing.is_set() or not is_all:
                self._wake.set()
            self._closing.wait(max(self._interval_seconds, _REST * (time.monotonic() - began)))

    def _is_done(self) -> bool:
        """Waits for something to do; whether there will be nothing more."""
        self._wake.wait()
        self._wake.clear()
        return self._over.is_set() or (self._closing.is_set() and self._uploader.is_idle)

    def _warn(self, error: Exception) -> None:
        if not self._has_failed and not self._over.is_set():
            self._has_failed = True
            text = "upload to MLflow at %s failed: %s. The sweep continues; the upload will be retried."
            _LOG.warning(text, self._name, explain(error))
