"""The lease of a sweep in its store: whoever creates the next numbered object holds it, and one process can only.

The lease is taken on this machine first (`sweeps.store.lease`), which keeps its other processes away. Its file has a
number; creating the object of that name is a compare-and-swap, so that of two machines that took the same number one
fails, and ends. Files that never arrived are created before it: a number is never claimed past one that others hold.
"""

import json
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

from sweeps.remote.local_copy import LocalCopy, same_holder
from sweeps.store import lease

HEARTBEAT_SECONDS = 15.0
"""Between two heartbeats in the store, at most, also while a round takes longer; see `lease.STALE_SECONDS`."""


class Claim:
    """The right to upload, as long as no other driver has claimed the sweep.

    A part without a lease needs none.

    Attributes:
        lost: Whether another driver has claimed the sweep.

    Args:
        copy: Of the part that is written.
    """

    def __init__(self, copy: LocalCopy) -> None:
        self._copy, self.lost = copy, False
        self._claimed: Path | None = None
        self._said, self._renewed, self._lock = b"", time.monotonic(), threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="claim", daemon=True)
        self._thread.start()

    def holds(self) -> bool:
        """Whether this process holds the lease here and in the store, where it is claimed if it has not been yet.

        Raises:
            OSError: If the store does not answer.
        """
        if self._copy.part.sessions is None:
            return True
        mine = self._mine()
        if self.lost or mine is None:
            return False
        if mine != self._claimed:
            self._create(mine)
        return not self._is_lost(mine)

    def is_of(self, name: str) -> bool:
        """Whether a file is the lease that is claimed."""
        return self._copy.root / name == self._claimed

    def renew(self, content: bytes) -> str:
        """Writes what the holder says of itself.

        Returns:
            The e_tag.
        """
        with self._lock:
            self._said, self._renewed = content, time.monotonic()
            return self._put()

    def close(self) -> None:
        """Ends the heartbeats."""
        self._closed.set()
        self._thread.join()

    def _beat(self) -> None:
        # What is put again is what the lease says in the store: that is never ahead of the results there.
        while not self._closed.wait(self._renewed + HEARTBEAT_SECONDS - time.monotonic()):
            with self._lock, suppress(OSError):  # of which a round hears as well
                self._renewed = time.monotonic()
                if self._claimed and not self._is_lost(self._claimed):
                    self._put()

    def _put(self) -> str:
        assert self._claimed is not None  # noqa: S101 - nobody renews what is not claimed
        return self._copy.store.put(self._said, self._name(self._claimed))

    def _create(self, mine: Path) -> None:
        # Whatever it says by now, results are yet to be uploaded, and after them the lease as it is.
        self._said = json.dumps(json.loads(mine.read_bytes()) | {"state": "running"}).encode()
        earlier = [path for path in mine.parent.glob("*.json") if path.stem.isdecimal() and path.stem < mine.stem]
        for path in [*sorted(path for path in earlier if self._name(path) not in self._copy.known), mine]:
            name, content = self._name(path), self._said if path == mine else path.read_bytes()
            try:
                self._copy.store.compare_and_swap(content, name, None)
            except FileExistsError:
                # It may be our own, written by an earlier try whose answer never came.
                if not same_holder(self._copy.store.read(name), content):
                    self._lose(mine, name)
                    return
        self._copy.known.pop(self._name(mine), None)
        self._claimed = mine

    def _is_lost(self, mine: Path) -> bool:
        last = max(self._copy.store.files(str(self._copy.part.sessions)), default="")
        if not self.lost and last > self._name(mine):
            self._lose(mine, last)
        return self.lost

    def _lose(self, mine: Path, name: str) -> None:
        """Tells the session that holds the lease here, by a file that follows its own: see `Lease.check`."""
        follower = mine.with_name(f"{int(mine.stem) + 1:06d}.json")
        follower.write_bytes(self._copy.store.read(name))
        self.lost = True

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
