"""The mirror of a running sweep in MLflow: a background thread that applies Parquet parts, and is allowed to fail."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from search_spaces.space import SearchSpace
from sweeps.store.paths import SweepPaths
from sweeps.tracking.backlog import Length, News, whole
from sweeps.tracking.experiment import Experiment
from sweeps.tracking.mlflow_store import explain, open_store, redact, refused
from sweeps.tracking.overview import Overview
from sweeps.tracking.replay import Apply, replay

MOST_ROWS = 5_000
"""Rows from which on no further part is read in one round."""
MOST_HINTS = 10_000
"""Trials whose beginning may wait for a store that is slow or dead; of further ones the oldest are dropped."""

_TRIES = 3
_FIRST_DELAY_SECONDS, _LAST_DELAY_SECONDS = 0.5, 30.0
_DEAD_SECONDS = 5.0  # without a row that arrives: so long somebody who closes waits for a store that has failed
_REST = 3  # times what a round took: the thread shares the interpreter with the sweep's own loop

_LOG = logging.getLogger(__name__)

Notice = Callable[[Experiment], None]


class Mirror:
    """Mirrors a running sweep. Its methods return at once, and raise nothing.

    What lasts comes from the Parquet parts. A store that fails is connected to again, after a growing delay, for ever,
    and the parts after the offset that it remembers are applied: nothing is lost or doubled. So another store is filled
    from the start, and memory does not grow while a store is dead.

    A trial whose request fails is put aside, so that it holds up no other; at the end of each round it is compared with
    all of its rows. One that is refused three times is left out. The offset stays before it, for the next session.

    What is told here, but for the sweep's parameters and its end, is lost if the process dies, and shown live only.

    Attributes:
        lag: Rows in Parquet that MLflow has not taken, as of the last round.
        rejected: What the store refused for good, and why: numbers of trials, `sweep`, `front` or `last`, its end.

    Args:
        uri: A store of MLflow: a database or a server's address.
        sweep: The sweep's name, which becomes the experiment's.
        root: The folder of all sweeps; artifacts are kept there if `uri` is its default store.
        interval_seconds: Least time between two rounds of requests.
    """

    def __init__(self, uri: str, sweep: str, *, root: Path, interval_seconds: float = 2.0) -> None:
        self._uri, self._sweep, self._root, self._interval_seconds = uri, sweep, root, interval_seconds
        self.lag = 0
        self.rejected: dict[int | str, str] = {}
        self._paths = SweepPaths(root, sweep)
        self._length = Length(self._paths)
        # Parts that this session adds are new to every store, whatever one remembers of parts that were lost here.
        self._start = self._offset = self._length.end()
        self._run_id: str | None = None
        self._is_torn = self._doubtful = self._warned = False
        self._experiment: Experiment | None = None
        self._notices: dict[int | str, Notice] = {}
        self._refusals: dict[int | str, int] = {}
        self._aside: set[int] = set()
        self._taken = 0  # rows of parts after the offset
        self._moved = 0.0  # when it was told to close, or something arrived since
        self._lock = threading.Lock()
        self._wake, self._closing, self._over = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"mirror-{redact(uri)}", daemon=True)
        self._thread.start()

    def start_sweep(
        self, params: Mapping[str, Any], tags: Mapping[str, Any], *, space: SearchSpace | None = None
    ) -> None:
        """A session begins or goes on. A parameter that changed since an earlier session is also kept as a tag.

        Args:
            params: Of the sweep.
            tags: Of the sweep.
            space: What MLflow's page is to show the columns of.
        """
        params, tags = dict(params), {**tags, "state": "running"}
        self._tell({"sweep": lambda experiment: experiment.begin(params, tags, space)})

    def trials_started(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Trials begin, or begin again: `trial`, `attempt`, and what else is known of `sweeps.results.TRIALS`."""
        self._hint(rows, "running")

    def trials_waiting(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Trials were interrupted and wait for the next session: `trial` and `attempt`."""
        self._hint(rows, "waiting")

    def mark_front(self, trials: Iterable[int]) -> None:
        """These trials are the front now: their runs are tagged, and those of the trials that left it no more."""
        front = frozenset(trials)
        self._tell({"front": lambda experiment: experiment.mark_front(front)})

    def parts_written(self) -> None:
        """There are new Parquet parts."""
        self._wake.set()

    def finish(self, state: str, overview: Overview | None = None) -> None:
        """The session ends; sent after everything else. `finished` and `failed` are shown so, all else as killed.

        Args:
            state: How it ended.
            overview: The sweep as a whole; None when no trial has ended.
        """
        self._tell({"last": lambda experiment: experiment.conclude(state, overview)})

    def close(self, timeout_seconds: float) -> int:
        """Sends what is left, for at most `timeout_seconds`; a store that is dead is soon left.

        Returns:
            The number of rows that MLflow has not taken, the sweep's own run being one; 0 means that it is equal.
        """
        self._moved = time.monotonic()
        self._closing.set()
        self._wake.set()
        until = time.monotonic() + timeout_seconds
        while self._thread.is_alive() and time.monotonic() < until and not self._is_dead():
            self._thread.join(0.05)
        self._over.set()
        own = {"sweep", "front", "last"} & (self._notices.keys() | self.rejected.keys())
        return self._count() + bool(own) + sum(news.count for news in whole(self._paths, self._aside))

    def _hint(self, rows: Iterable[Mapping[str, Any]], state: str) -> None:
        stamp = int(time.time() * 1000)
        told = [{**row, "state": state} for row in rows]
        self._tell({row["trial"]: lambda experiment, row=row: experiment.hint(row, stamp) for row in told})

    def _tell(self, notices: Mapping[Any, Notice]) -> None:
        with self._lock:
            self._notices |= notices
            hints = [key for key in self._notices if isinstance(key, int)]
            for key in hints[: max(0, len(hints) - MOST_HINTS)]:
                del self._notices[key]
        self._wake.set()

    def _is_dead(self) -> bool:
        return self._warned and time.monotonic() - self._moved > _DEAD_SECONDS

    def _count(self) -> int:
        with self._lock:
            return max(self._length.after(self._offset) - self._taken, 0)

    def _work(self) -> None:
        delay = _FIRST_DELAY_SECONDS
        while self._awaits_work():
            began = time.monotonic()
            try:
                is_done = self._round(self._connected())
            except Exception as error:
                self._experiment, self._doubtful = None, True
                self._warn(error)
                self._wake.set()
                self._pause(delay)
                delay = _FIRST_DELAY_SECONDS if self._closing.is_set() else min(2 * delay, _LAST_DELAY_SECONDS)
                continue
            self._warned, delay = False, _FIRST_DELAY_SECONDS
            if is_done and self._closing.is_set() and not self._notices:
                return
            if not is_done:
                self._wake.set()
            if not self._closing.is_set():
                self._pause(max(self._interval_seconds, _REST * (time.monotonic() - began)))

    def _awaits_work(self) -> bool:
        self._wake.wait()
        self._wake.clear()
        is_idle = self._closing.is_set() and not self._notices and not self._count()
        return not is_idle and not self._over.is_set()

    def _pause(self, seconds: float) -> None:
        """Waits; whoever begins to close ends it, and has the pauses that follow in full."""
        (self._over if self._closing.is_set() else self._closing).wait(seconds)

    def _connected(self) -> Experiment:
        self.lag = self._count()
        if self._experiment is None:
            experiment = Experiment(open_store(self._uri, self._sweep, self._root), self._sweep)
            if experiment.run_id != self._run_id:
                self._run_id, self._offset = experiment.run_id, experiment.offset.at_most(self._start)
            self._experiment = experiment
        return self._experiment

    def _round(self, experiment: Experiment) -> bool:
        """Sends what there is; returns whether nothing is left."""
        notices = dict(self._notices)  # before the parts are looked for: the end comes after them
        last = notices.pop("last", None)
        is_all = self._apply_parts(experiment)
        for key, notice in notices.items():
            self._send(experiment, key, notice)
        for trial in self._aside - self.rejected.keys():
            self._retry(experiment, trial)
        if not self._aside and not self._is_torn:
            experiment.commit(self._offset)
        if last and is_all and self._doubtful:
            # A request that failed may be carried out late, and make a double: another round looks for them.
            self._experiment, self._doubtful = None, False
            return False
        if last and is_all:
            self._send(experiment, "last", last)
        return is_all

    def _apply_parts(self, experiment: Experiment) -> bool:
        """Applies the next parts; returns whether these are all."""
        self._taken = 0
        batch = replay(experiment, self._paths, self._offset, most_rows=MOST_ROWS, attempt=self._attempt)
        with self._lock:
            self._offset, self._taken = self._length.offset(batch.epochs, batch.trials), 0
        self.lag = self._count()
        self._is_torn |= batch.is_torn
        return batch.is_all

    def _attempt(self, apply: Apply, news: News) -> bool:
        if self._over.is_set():
            raise InterruptedError
        if news.trial in self._aside:
            return True
        try:
            is_done = apply(news)
        except Exception as error:
            self._aside.add(news.trial)
            self._note_refusal(news.trial, error)
            raise
        self._taken += news.count if is_done else 0
        self._moved = time.monotonic()
        return is_done

    def _retry(self, experiment: Experiment, trial: int) -> None:
        try:
            for news in whole(self._paths, [trial]):
                experiment.rebuild(news)
        except Exception as error:
            self._note_refusal(trial, error)
            raise
        self._aside.discard(trial)
        self._moved = time.monotonic()

    def _send(self, experiment: Experiment, key: int | str, notice: Notice) -> None:
        try:
            notice(experiment)
        except Exception as error:
            self._note_refusal(key, error)
            with self._lock:
                if self._notices.get(key) is notice:
                    del self._notices[key]
                if isinstance(key, int):
                    self._aside.add(key)
                elif key not in self.rejected:
                    self._notices.setdefault(key, notice)  # behind the others
            raise
        with self._lock:
            if self._notices.get(key) is notice:
                del self._notices[key]
        self._moved = time.monotonic()

    def _note_refusal(self, key: int | str, error: Exception) -> None:
        """Leaves something out for good that was refused again and again, rather than failed."""
        if not refused(error):
            return
        self._refusals[key] = self._refusals.get(key, 0) + 1
        if self._refusals[key] >= _TRIES and key not in self.rejected:
            self.rejected[key] = explain(error)
            what = f"trial {key}" if isinstance(key, int) else f"the sweep's run ({key})"
            _LOG.warning("MLflow at %s rejected %s: %s. It is left out.", redact(self._uri), what, self.rejected[key])

    def _warn(self, error: Exception) -> None:
        if not self._warned and not self._over.is_set() and not refused(error):
            self._warned = True
            text = "upload to MLflow at %s failed: %s. The sweep continues; the upload will be retried."
            _LOG.warning(text, redact(self._uri), explain(error))
