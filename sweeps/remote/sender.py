"""Sends what a driver writes to the object store, from a thread: the sweep never waits for it and never ends by it.

What lies in the store is at any time a state from which another machine can go on: results before the study that
knows of them, the study before the lease, and nothing is removed before what took its place has arrived. Meanwhile
another thread keeps the lease in the store from looking like that of a dead driver.
"""

import json
import logging
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

from sweeps.remote.client import Stamp
from sweeps.remote.local_copy import LocalCopy, in_parallel, same_holder, stamp_of
from sweeps.store import lease

INTERVAL_SECONDS = 5.0
"""Between two rounds, at least; ten times what a round takes, if that is longer."""
CLAIM_SECONDS = 2.0
"""After which a driver looks whether another one has claimed the sweep at the same moment."""
LAST_SECONDS = 60.0
"""How long the end of a session waits for a store that does not answer."""
PULSE_SECONDS = 15.0
"""Between two signs of life in the store, at most, also while a round takes longer; see `lease.STALE_SECONDS`."""
_LONGEST_SECONDS = 60.0
_ORDER = ("/epochs/", "/trials/", "")
"""Results are sent in this order: a trial that is there has all its epochs there."""

_LOG = logging.getLogger(__name__)


class Sender:
    """Keeps the store equal to what one writer makes of a local copy, which it must hold alone.

    Attributes:
        sent: Whether there was something to send, under a lease where there is one.
        lost: Whether another driver has taken over.
        fault: Why the last try failed, if it did.

    Args:
        copy: Of the part that is written.
        interval_seconds: Least time between two rounds.
    """

    def __init__(self, copy: LocalCopy, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._copy, self._interval_seconds = copy, interval_seconds
        self._claimed: Path | None = None
        self._said, self._renewed, self._pulse_lock = b"", time.monotonic(), threading.Lock()
        self.lost = self.sent = False
        self.fault: str | None = None
        self._took_seconds = 0.0
        self._over, self._closed = threading.Event(), threading.Event()
        self._before, copy.unsent = copy.unsent, True
        copy.save()
        self._thread = threading.Thread(target=self._work, name="sender", daemon=True)
        self._thread.start()
        self._pulse = threading.Thread(target=self._live, name="pulse", daemon=True)
        self._pulse.start()

    def unsent(self) -> list[str]:
        """The files that are not in the store as they are here."""
        return [name for name, stamp in self._copy.here().items() if self._is_new(name, stamp)]

    def close(self, timeout_seconds: float = LAST_SECONDS) -> list[str]:
        """Sends what is left, for some time, and ends the thread.

        Returns:
            The files that did not arrive.
        """
        self._over.set()
        self._thread.join()
        until = time.monotonic() + timeout_seconds
        while not self._try() and not self.lost and time.monotonic() < until:
            time.sleep(1)
        self._closed.set()
        self._pulse.join()
        left = self.unsent() if self.fault or self.lost else []
        self._copy.unsent = bool(left) if self.sent or left else self._before
        self._copy.save()
        return left

    def _work(self) -> None:
        pause = self._interval_seconds
        while not self._over.wait(pause):
            if self.lost:
                return
            arrived = self._try()
            pause = max(self._interval_seconds, 10 * self._took_seconds)
            pause = min(pause if arrived else 2 * pause, _LONGEST_SECONDS)

    def _try(self) -> bool:
        try:
            self._round()
        except OSError as error:
            if self.fault is None:
                _LOG.warning(
                    "object store: must take what is written, but got: %s. The sweep goes on; it is sent when the "
                    "store answers.",
                    error,
                )
            self.fault = str(error)
            return False
        self.fault = None
        return True

    def _round(self) -> None:
        if not self._holds():
            return
        started = time.monotonic()
        last = self._snapshot()  # what must not be ahead of the results is read before these are looked for
        found = {name: stamp for name, stamp in self._copy.here().items() if name not in last}
        news = [name for name, stamp in found.items() if self._is_new(name, stamp)]
        self.sent |= bool(news) or any(self._is_new(name, stamp) for name, (_, stamp) in last.items())
        for kind in _ORDER:
            batch = [name for name in news if kind in name]
            news = [name for name in news if kind not in name]
            in_parallel(lambda name: self._send(name, found[name]), batch)
        for name, (content, stamp) in last.items():
            if self._is_new(name, stamp):
                self._copy.known[name] = self._put_last(content, name), stamp
        for name in [name for name in self._copy.known if name not in found and name not in last]:
            self._copy.store.delete(name)
            del self._copy.known[name]
        self._copy.save()
        self._took_seconds = time.monotonic() - started

    def _put_last(self, content: bytes, name: str) -> Stamp:
        """Puts the study or a lease."""
        if self._copy.root / name != self._claimed:
            return self._copy.store.put(content, name)
        with self._pulse_lock:
            self._said, self._renewed = content, time.monotonic()
            return self._copy.store.put(content, name)

    def _live(self) -> None:
        """Gives signs of life by putting again what the lease says in the store: that is never ahead of the results."""
        while not self._closed.wait(self._renewed + PULSE_SECONDS - time.monotonic()):
            with self._pulse_lock, suppress(OSError):  # of which a round hears as well
                self._renewed = time.monotonic()
                if self._claimed and not self.lost and self._still_holds(self._claimed):
                    self._copy.store.put(self._said, self._name(self._claimed))

    def _send(self, name: str, stamp: Stamp) -> None:
        self._copy.known[name] = self._copy.store.put(self._copy.root / name, name), stamp

    def _is_new(self, name: str, stamp: Stamp) -> bool:
        return name not in self._copy.known or self._copy.known[name][1] != stamp

    def _snapshot(self) -> dict[str, tuple[bytes, Stamp]]:
        """The study and the lease as they are at one moment, in the order they are sent in."""
        found: dict[str, tuple[bytes, Stamp]] = {}
        here = self._copy.here()
        for name in sorted(name for name in here if name.endswith("study.journal") or "/sessions/" in name):
            path = self._copy.root / name
            stamp, content = stamp_of(path), path.read_bytes()
            if name.endswith("study.journal"):
                content = content[: content.rfind(b"\n") + 1]  # somebody may be at the next line
            found[name] = content, stamp
        return dict(sorted(found.items(), key=lambda item: "/sessions/" in item[0]))

    def _holds(self) -> bool:
        """Whether this process holds the sweep's lease, here and in the store."""
        if self._copy.part.sessions is None:
            return True
        mine = self._mine()
        if mine is None:
            return False
        if mine != self._claimed and not self._is_taken(mine):
            # Whatever it says by now, results are yet to be sent, and after them the lease as it is.
            self._said = json.dumps(json.loads(mine.read_bytes()) | {"state": "running"}).encode()
            self._copy.store.put(self._said, self._name(mine))
            self._copy.known.pop(self._name(mine), None)
            time.sleep(CLAIM_SECONDS)  # another machine may have looked at the same moment and written the same file
            self._claimed = mine
        return self._still_holds(mine)

    def _still_holds(self, mine: Path) -> bool:
        self.lost = self._is_taken(mine)
        return not self.lost

    def _name(self, path: Path) -> str:
        """Of a file in the store."""
        return path.relative_to(self._copy.root).as_posix()

    def _mine(self) -> Path | None:
        """The file of this process' lease."""
        path = lease.newest(self._copy.root / str(self._copy.part.sessions))
        if path is None:
            return None
        document = json.loads(path.read_bytes())
        return path if (document["pid"], document["host"]) == (os.getpid(), socket.gethostname()) else None

    def _is_taken(self, mine: Path) -> bool:
        """Whether another driver holds the lease in the store; then the one here hears of it by a file of its own."""
        store, sessions = self._copy.store, str(self._copy.part.sessions)
        last = max(store.files(sessions), default="")
        name = self._name(mine)
        if last < name or (last == name and same_holder(store.read(name), mine.read_bytes())):
            return False
        follower = mine.with_name(f"{int(mine.stem) + 1:06d}.json")
        follower.write_bytes(store.read(last))
        return True
