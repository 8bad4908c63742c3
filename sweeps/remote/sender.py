"""Uploads what a driver writes, from a thread: the sweep never waits for the object store and never ends by it.

What lies in the store is at any time a state from which another machine can go on: results before the study that
knows of them, the study before the lease, and nothing is removed before what took its place has arrived. Results and
the study replace only what this machine knows to be there, so a driver that was suspended amid an upload, while another
one took over, does not write over the other's.
"""

import logging
import threading
import time
from functools import partial
from pathlib import Path

from sweeps.remote.claim import Claim
from sweeps.remote.local_copy import FileVersion, LocalCopy, in_parallel, version_of

INTERVAL_SECONDS = 5.0
"""Between two rounds, at least; ten times what a round takes, if that is longer."""
LAST_SECONDS = 60.0
"""How long the end of a session waits for a store that does not answer."""
_POLL_SECONDS = 0.1
"""Between two looks whether the session has its lease by now, for it to be claimed in the store at once."""
_LONGEST_SECONDS = 60.0
_ORDER = ("/epochs/", "/trials/", "")
"""Results are uploaded in this order: a trial that is there has all its epochs there."""
_STUDY = "study.journal"
_GUARDED = (".parquet", _STUDY)
"""Endings of the names of what is only written in place of what is known to be there."""

_LOG = logging.getLogger(__name__)


class Sender:
    """Keeps the store equal to what one writer makes of a local copy, which it must hold alone.

    Attributes:
        sent: Whether there was something to send, under a lease where there is one.
        fault: Why the last try failed, if it did.

    Args:
        copy: Of the part that is written.
        interval_seconds: Least time between two rounds.
    """

    def __init__(self, copy: LocalCopy, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._copy, self._interval_seconds = copy, interval_seconds
        self._claim = Claim(copy)
        self.sent = False
        self.fault: str | None = None
        self._took_seconds = 0.0
        self._over = threading.Event()
        self._before, copy.dirty = copy.dirty, True
        copy.save()
        self._thread = threading.Thread(target=self._work, name="sender", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> bool:
        """Whether another driver has claimed the sweep."""
        return self._claim.lost

    def unsent(self) -> list[str]:
        """The files that are not in the store as they are here."""
        return [name for name, version in self._copy.here().items() if self._is_new(name, version)]

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
        self._claim.close()
        left = self.unsent() if self.fault or self.lost else []
        self._copy.dirty = bool(left) if self.sent or left else self._before
        self._copy.save()
        return left

    def _work(self) -> None:
        while not self._over.wait(_POLL_SECONDS) and not self._has_claimed():
            pass
        pause = self._interval_seconds
        while not self._over.wait(pause):
            if self.lost:
                return
            arrived = self._try()
            pause = max(self._interval_seconds, 10 * self._took_seconds)
            pause = min(pause if arrived else 2 * pause, _LONGEST_SECONDS)

    def _has_claimed(self) -> bool:
        try:
            return self._claim.holds() or self.lost
        except OSError:
            return True  # the rounds try again, and say what the matter is

    def _try(self) -> bool:
        try:
            self._round()
        except OSError as error:
            if self.fault is None and not self.lost:
                _LOG.warning(
                    "upload to the object store failed: %s. The sweep continues; the upload will be retried.", error
                )
            self.fault = str(error)
            return False
        self.fault = None
        return True

    def _round(self) -> None:
        if not self._claim.holds():
            return
        started = time.monotonic()
        last = self._snapshot()  # what must not be ahead of the results is read before these are looked for
        found = {name: version for name, version in self._copy.here().items() if name not in last}
        news = [name for name, version in found.items() if self._is_new(name, version)]
        self.sent |= bool(news) or any(self._is_new(name, version) for name, (_, version) in last.items())
        for kind in _ORDER:
            batch = [name for name in news if kind in name]
            news = [name for name in news if kind not in name]
            in_parallel(lambda name: self._send(name, found[name]), batch)
        for name, (content, version) in last.items():
            if self._is_new(name, version):
                write = self._claim.renew if self._claim.is_of(name) else partial(self._upload, name)
                self._copy.known[name] = write(content), version
        gone = [name for name in self._copy.known if name not in found and name not in last]
        for name in gone if gone and self._claim.holds() else []:  # the round may have taken long
            self._copy.store.delete(name)
            del self._copy.known[name]
        self._copy.save()
        self._took_seconds = time.monotonic() - started

    def _send(self, name: str, version: FileVersion) -> None:
        self._copy.known[name] = self._upload(name, self._copy.root / name), version

    def _upload(self, name: str, content: Path | bytes) -> str:
        store = self._copy.store
        if not name.endswith(_GUARDED):
            return store.put(content, name)
        expected = self._copy.known[name][0] if name in self._copy.known else None
        try:
            return store.compare_and_swap(content, name, expected)
        except FileExistsError:
            if not self._claim.holds():
                raise
            # It is our own, of an upload whose answer never came, or the last one of a driver that has lost the sweep.
            found = store.version(name)
            return store.compare_and_swap(content, name, found.e_tag if found else None)

    def _is_new(self, name: str, version: FileVersion) -> bool:
        return name not in self._copy.known or self._copy.known[name][1] != version

    def _snapshot(self) -> dict[str, tuple[bytes, FileVersion]]:
        """The study and the lease as they are at one moment, in the order they are uploaded in."""
        found: dict[str, tuple[bytes, FileVersion]] = {}
        here = self._copy.here()
        for name in sorted(name for name in here if name.endswith(_STUDY) or "/sessions/" in name):
            path = self._copy.root / name
            version, content = version_of(path), path.read_bytes()
            if name.endswith(_STUDY):
                content = content[: content.rfind(b"\n") + 1]  # somebody may be at the next line
            found[name] = content, version
        return dict(sorted(found.items(), key=lambda item: "/sessions/" in item[0]))
