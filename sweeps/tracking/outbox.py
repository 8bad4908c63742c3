"""Rows on their way to a place that may be slow or dead: kept in order, sent from a background thread, counted."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

_LOG = logging.getLogger(__name__)

LAST = "last"
"""The key of rows that are sent when no other row is left."""

_TRIES = 3
_FIRST_DELAY_SECONDS, _LAST_DELAY_SECONDS = 0.5, 30.0
_DEAD_SECONDS = 5.0  # without a row that arrives: so long somebody who closes waits for a receiver that has failed
_REST = 3  # times what sending took: the thread shares the interpreter with the sweep's own loop


Making = Callable[[], Iterable[tuple[str, Mapping[str, Any]]]]
"""Makes rows, each with its key."""


class Row(NamedTuple):
    """One thing to tell. Rows of one key keep their order and are sent together."""

    kind: str
    key: str
    values: Mapping[str, Any]
    stamp: int
    """When it was said, in milliseconds: the same however often it is sent."""


class Outbox:
    """Sends rows from a daemon thread. Whoever adds rows never waits and never sees an error.

    A receiver that fails is thrown away, and after a growing delay another one is made, for ever: the rows stay. A key
    whose rows fail goes behind the others. Rows that are refused three times are sent one by one, to find those that
    are refused by themselves; these are counted as rejected and left out.

    Args:
        connect: Makes a receiver, which takes the rows of one key.
        refused: Whether an error of a receiver is about the rows rather than about the connection.
        name: What the receiver is, for the log; without secrets.
        explain: An error in one line, for the log; without secrets.
        interval_seconds: Least time between two rounds, so that rows gather to batches.
    """

    def __init__(
        self,
        connect: Callable[[], Callable[[Sequence[Row]], None]],
        refused: Callable[[Exception], bool],
        *,
        name: str,
        explain: Callable[[Exception], str] = str,
        interval_seconds: float = 2.0,
    ) -> None:
        self.rejected: dict[str, str] = {}  # key -> why
        self.rejected_rows = 0
        self._connect, self._refused, self._explain = connect, refused, explain
        self._name, self._interval_seconds = name, interval_seconds
        self._rows: list[tuple[str, int, Making]] = []
        self._pending: dict[str, list[Row]] = {}  # the thread's own
        self._tries: dict[str, int] = {}
        self._waiting = 0
        self._closing = self._abandoned = self._warned = False
        self._moved = 0.0  # when it was told to close, or a row arrived since
        self._changed = threading.Condition()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"outbox-{name}", daemon=True)
        self._thread.start()

    @property
    def lag(self) -> int:
        """Rows that were neither sent nor rejected yet."""
        return self._waiting

    def add(self, kind: str, rows: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Takes copies of rows, each with its key, and returns at once."""
        new = [(key, dict(values)) for key, values in rows]
        self.add_later(kind, len(new), lambda: new)

    def add_later(self, kind: str, count: int, make: Making) -> None:
        """Takes so many rows that its own thread makes when it needs them: of something that does not change."""
        if not count:
            return  # woken for nothing, the thread would take it for the end
        with self._changed:
            self._rows.append((kind, int(time.time() * 1000), make))
            self._waiting += count
            self._changed.notify_all()

    def close(self, timeout_seconds: float) -> int:
        """Sends what is left, for at most `timeout_seconds`, and ends the thread; a receiver that is dead is soon left.

        Returns:
            The number of rows that did not arrive, rejected ones included.
        """
        with self._changed:
            self._closing, self._moved = True, time.monotonic()
            self._changed.notify_all()
        self._wake.set()
        until = time.monotonic() + timeout_seconds
        while self._thread.is_alive() and time.monotonic() < until and not self._is_dead():
            self._thread.join(0.05)
        self._abandoned = True
        self._wake.set()
        return self._waiting + self.rejected_rows

    def _is_dead(self) -> bool:
        return self._warned and time.monotonic() - self._moved > _DEAD_SECONDS

    def _work(self) -> None:
        receive, delay = None, _FIRST_DELAY_SECONDS
        while self._gather():
            started = time.monotonic()
            try:
                receive = receive or self._connect()
                settled = self._round(receive)
            except Exception as error:
                self._warn(error)
                settled = False
            if settled:
                self._warned, delay = False, _FIRST_DELAY_SECONDS
                if not self._closing:
                    self._wake.wait(max(self._interval_seconds, _REST * (time.monotonic() - started)))
                continue
            receive = None
            if self._wake.wait(delay):  # somebody closes: try once more at once, then from the shortest delay on
                self._wake.clear()
                delay = _FIRST_DELAY_SECONDS
            else:
                delay = min(2 * delay, _LAST_DELAY_SECONDS)

    def _gather(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._rows or self._pending or self._closing)
            new, self._rows = self._rows, []
        for kind, stamp, make in new:
            for key, values in make():
                self._pending.setdefault(key, []).append(Row(kind, key, values, stamp))
        return bool(self._pending) and not self._abandoned

    def _round(self, receive: Callable[[Sequence[Row]], None]) -> bool:
        """Sends what is pending. Returns whether all went; raises what is not about the rows themselves."""
        for key in sorted(self._pending, key=lambda key: key == LAST):
            while self._pending[key] and not self._abandoned:
                rows = self._pending[key]
                part = rows[:1] if self._tries.get(key, 0) >= _TRIES else rows
                try:
                    receive(part)
                except Exception as error:
                    self._pending[key] = self._pending.pop(key)  # behind the others
                    if not self._refused(error):
                        raise
                    self._refuse(key, part, error)
                    return False
                self._settle(key, part)
            if not self._pending[key]:
                del self._pending[key]
                self._tries.pop(key, None)
        return True

    def _settle(self, key: str, part: Sequence[Row]) -> None:
        self._pending[key] = self._pending[key][len(part) :]
        with self._changed:
            self._waiting -= len(part)
            self._moved = time.monotonic()

    def _refuse(self, key: str, part: Sequence[Row], error: Exception) -> None:
        self._tries[key] = self._tries.get(key, 0) + 1
        if self._tries[key] < _TRIES or len(part) > 1:
            return
        if key not in self.rejected:
            self.rejected[key] = self._explain(error)
            _LOG.warning("%s: must take %r, but refused it: %s. It is left out.", self._name, key, self.rejected[key])
        self.rejected_rows += 1
        self._settle(key, part)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            text = "%s: must take rows, but got: %s. The sweep goes on; rows are kept and sent when it answers."
            _LOG.warning(text, self._name, self._explain(error))
