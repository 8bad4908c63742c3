"""Uploads a sweep to MLflow turn by turn: what Parquet parts say, and what a driver tells beside them."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from sweeps.store.paths import SweepPaths
from sweeps.tracking.backlog import Length, News, whole
from sweeps.tracking.experiment import Experiment
from sweeps.tracking.mlflow_store import explain, refused
from sweeps.tracking.replay import Apply, replay

MOST_ROWS = 5_000
"""Rows from which on no further part is read in one turn."""
MOST_HINTS = 10_000
"""Trials whose beginning may wait for a store that is slow or dead; of further ones the oldest are dropped."""
LAST = "end"
"""The key of the notice that is sent when nothing else is left."""

_TRIES = 3

_LOG = logging.getLogger(__name__)

Notice = Callable[[Experiment], None]
"""Tells the runs something that is in no part."""


class Uploader:
    """Applies parts to a store from the offset on that it remembers, so that nothing is lost or doubled.

    A trial whose request fails is put aside, so that it holds up no other, and compared with all of its rows at the end
    of a turn. One that is refused three times is left out. The offset stays before it, for the next session.

    Attributes:
        lag: Rows of parts that the store has not taken, as of the last turn.
        rejected: What the store refused for good, and why: by number of the trial, or key of the notice.
        moved: When something arrived, by a monotonic clock.
        is_over: Whether turns are to end at once, by an InterruptedError.

    Args:
        connect: Finds the runs in the store.
        paths: Of the sweep. Parts that are added to it later are new to every store, whatever one remembers.
        name: Of the store, for the log.
    """

    def __init__(self, connect: Callable[[], Experiment], paths: SweepPaths, *, name: str) -> None:
        self._connect, self._paths, self._name = connect, paths, name
        self._length = Length(paths)
        self._start = self._offset = self._length.end()
        self._taken = 0  # rows after the offset
        self._experiment: Experiment | None = None
        self._run_id: str | None = None
        self._notices: dict[int | str, Notice] = {}
        self._aside: dict[int, set[Any]] = {}  # keys of the rows that were passed over, by trial
        self._refusals: dict[int | str, int] = {}
        self._refusal: Exception | None = None
        self._is_torn = self._is_doubtful = False
        self._lock = threading.Lock()
        self.lag, self.moved, self.is_over = 0, 0.0, False
        self.rejected: dict[int | str, str] = {}

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to send."""
        return not self._notices and not self._count()

    def tell(self, notices: Mapping[Any, Notice]) -> None:
        """Takes notices by key, in place of earlier ones: the number of a trial, which is a mere hint, or a word."""
        with self._lock:
            self._notices |= notices
            hints = [key for key in self._notices if isinstance(key, int)]
            for key in hints[: max(0, len(hints) - MOST_HINTS)]:
                del self._notices[key]

    def missing(self) -> int:
        """The number of rows that the store has not taken; the sweep's own run counts as one."""
        own = any(isinstance(key, str) for key in (*self._notices, *self.rejected))
        return self._count() + own + sum(map(len, self._aside.values()))

    def turn(self) -> bool:
        """Sends what there is, or the first part of it; after any error the runs are looked for again.

        Returns:
            Whether nothing is left that was there when it began.
        """
        self.lag = self._count()
        try:
            is_all = self._send(self._found())
        except Exception as error:
            self._experiment = None
            if error is self._refusal:
                return False
            self._is_doubtful = True
            raise
        self.lag = self._count()
        return is_all

    def _found(self) -> Experiment:
        if self._experiment is None:
            self._experiment = self._connect()
            if self._experiment.run_id != self._run_id:
                self._run_id = self._experiment.run_id
                self._offset = self._experiment.offset.at_most(self._start)
        return self._experiment

    def _send(self, experiment: Experiment) -> bool:
        notices = dict(self._notices)  # before the parts are looked for: the end comes after them
        last = notices.pop(LAST, None)
        is_all = self._send_parts(experiment)
        for key, notice in notices.items():
            self._send_notice(experiment, key, notice)
        for trial in self._aside.keys() - self.rejected.keys():
            self._send_whole(experiment, trial)
        if not self._aside and not self._is_torn:
            experiment.commit(self._offset)
        if last and is_all and self._is_doubtful:
            # A request that failed may be carried out late, and make a double: another turn looks for them.
            self._experiment, self._is_doubtful = None, False
            return False
        if last and is_all:
            self._send_notice(experiment, LAST, last)
        return is_all

    def _send_parts(self, experiment: Experiment) -> bool:
        self._taken = 0
        batch = replay(experiment, self._paths, self._offset, most_rows=MOST_ROWS, attempt=self._attempt)
        with self._lock:
            self._offset, self._taken = self._length.offset(batch.epochs, batch.trials), 0
        self._is_torn |= batch.is_torn
        return batch.is_all

    def _attempt(self, apply: Apply, news: News) -> bool:
        if self.is_over:
            raise InterruptedError
        is_done = True
        try:
            if news.trial not in self._aside:
                is_done = apply(news)
        except Exception as error:
            self._aside[news.trial] = set()
            self._note_refusal(news.trial, error)
            raise
        finally:
            if news.trial in self._aside:
                self._aside[news.trial] |= news.keys
            self._taken += len(news.keys) if is_done else 0
        self.moved = time.monotonic()
        return is_done

    def _send_whole(self, experiment: Experiment, trial: int) -> None:
        try:
            for news in whole(self._paths, [trial]):
                experiment.rebuild(news)
        except Exception as error:
            self._note_refusal(trial, error)
            raise
        del self._aside[trial]
        self.moved = time.monotonic()

    def _send_notice(self, experiment: Experiment, key: int | str, notice: Notice) -> None:
        try:
            notice(experiment)
        except Exception as error:
            self._note_refusal(key, error)
            self._settle(key, notice)
            if isinstance(key, int):
                self._aside.setdefault(key, set())
            elif key not in self.rejected:
                with self._lock:
                    self._notices.setdefault(key, notice)  # behind the others
            raise
        self._settle(key, notice)
        self.moved = time.monotonic()

    def _settle(self, key: int | str, notice: Notice) -> None:
        with self._lock:
            if self._notices.get(key) is notice:
                del self._notices[key]

    def _note_refusal(self, key: int | str, error: Exception) -> None:
        """Leaves out for good what was refused again and again, rather than failed."""
        if not refused(error):
            return
        self._refusal, self._refusals[key] = error, self._refusals.get(key, 0) + 1
        if self._refusals[key] >= _TRIES and key not in self.rejected:
            self.rejected[key] = explain(error)
            what = f"trial {key}" if isinstance(key, int) else f"the {key} of the sweep"
            _LOG.warning("MLflow at %s rejected %s: %s. It is left out.", self._name, what, self.rejected[key])

    def _count(self) -> int:
        with self._lock:
            return max(self._length.after(self._offset) - self._taken, 0)
