"""One process at a time, also where several machines share a file system.

Every session at some work has a file of its own, and the files are numbered: the last one holds the lease. A file is
made under another name and linked to the next number, which one process only can do; from then on nobody but that
process writes it. So a lease is never renewed by one who has lost it: a process that was suspended for long, while
another one took over, finds a file of a higher number, and ends.
"""

import contextlib
import json
import logging
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sweeps.errors import SweepError
from sweeps.store.paths import TEMPORARY_PREFIX, SweepPaths, replacing

STALE_SECONDS = 60.0
"""Time without a sign of life after which a holder on another machine counts as dead."""
BEAT_SECONDS = 1.0
"""Time between two heartbeats."""

_LOG = logging.getLogger(__name__)


class Lease:
    """The right to work, as long as nobody has taken over.

    Args:
        path: The holder's file.
        document: What it says.
        what: The work, for messages.
    """

    def __init__(self, path: Path, document: Mapping[str, Any], what: str) -> None:
        self.path, self._document, self._what = path, dict(document), what
        self._lock = threading.Lock()
        self._describe: Callable[[], Mapping[str, Any]] = dict
        self._fault = ""

    def tell(self, describe: Callable[[], Mapping[str, Any]]) -> None:
        """Has every heartbeat say what the holder is at.

        Args:
            describe: Called from the lease's own thread.

        Raises:
            SweepError: If another process has taken over.
        """
        self._describe = describe
        self._beat()

    def renew(self, **told: Any) -> None:
        """Writes a heartbeat now.

        Args:
            told: What the holder says of itself, in place of what it said before.

        Raises:
            SweepError: If another process has taken over.
            OSError: If the file cannot be written; its time is renewed where that is possible.
        """
        with self._lock:
            self.check()
            self._document |= told | {"updated": datetime.now(UTC).isoformat()}
            try:
                _write(self.path, self._document)
            except OSError:
                with contextlib.suppress(OSError):
                    os.utime(self.path)  # which needs no room on a full disk
                raise

    def check(self) -> None:
        """Makes sure that nobody has taken over.

        Raises:
            SweepError: If somebody has.
        """
        follower = _path(self.path.parent, _number(self.path) + 1)
        if follower.exists():
            other, _ = _look(follower)
            raise SweepError(
                f"{self._what}: only the last to take over may write: {_who(other)}. This process gave no sign "
                f"of life for {STALE_SECONDS:g} s and ends; what it had not written is done again there.",
                exit_code=1,
            )

    def beat(self, over: threading.Event) -> None:
        """Writes heartbeats until `over` is set or the lease is lost."""
        while not over.wait(BEAT_SECONDS):
            try:
                self._beat()
            except SweepError:
                return  # the holder hears it when it checks

    def end(self, state: str, **told: Any) -> None:
        """Gives the right back, as the last thing that the holder writes; once.

        Args:
            state: How the work ended.
            told: What else is to be known of it.
        """
        if self._document["state"] == "running":
            try:
                self.renew(**self._describe(), **told, state=state)
            except OSError as error:
                self._log(error)
            except SweepError:
                return

    def _beat(self) -> None:
        try:
            self.renew(**self._describe())
            self._fault = ""
        except OSError as error:
            self._log(error)

    def _log(self, error: OSError) -> None:
        if str(error) != self._fault:
            self._fault = str(error)
            _LOG.warning("%s: must be written, but got: %s", self.path, error)


@contextmanager
def hold(folder: Path, *, what: str, told: Mapping[str, Any] = MappingProxyType({})) -> Iterator[Lease]:
    """Holds a lease while the block runs.

    Args:
        folder: Where the files of its holders are; created if missing.
        what: The work, for messages.
        told: What the holder says of itself from the beginning.

    Raises:
        SweepError: See `take`.
    """
    lease, over = take(folder, what=what, told=told), threading.Event()
    thread = threading.Thread(target=lease.beat, args=[over], name="lease", daemon=True)
    thread.start()
    state = "failed"
    try:
        yield lease
    except KeyboardInterrupt:
        state = "interrupted"
        raise
    finally:
        over.set()
        thread.join()
        lease.end(state)


def take(folder: Path, *, what: str, told: Mapping[str, Any] = MappingProxyType({})) -> Lease:
    """Takes a lease that is free, or whose holder is dead; see `hold`.

    Raises:
        SweepError: If somebody alive holds it, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=folder) as scratch:
            return _take(folder, Path(scratch) / "lease", what, told)
    except OSError as error:
        raise SweepError(
            f"{folder}: must be a folder that can be written, but got: {error}. Choose another --root."
        ) from error


def _take(folder: Path, temporary: Path, what: str, told: Mapping[str, Any]) -> Lease:
    now = datetime.now(UTC).isoformat()
    document = {"state": "running", "host": socket.gethostname(), "pid": os.getpid(), "place": _place()}
    document |= {"born": _born(os.getpid()), "since": now, "updated": now, **told}
    while True:
        _write(temporary, document)
        last, other = newest(folder), dict[str, Any]()
        if last:
            other, renewed = _look(last)
            # Both times are the file system's: the clocks of machines may differ.
            _refuse_if_alive(other, temporary.stat().st_mtime - renewed, what)
        path = _path(folder, _number(last) + 1 if last else 1)
        try:
            os.link(temporary, path)
        except FileExistsError:
            continue  # somebody was faster; see who
        if other.get("state") == "running":
            _LOG.warning("%s: %s is gone without a word; this process takes over", what, _who(other))
        return Lease(path, document, what)


def refuse_if_held(folder: Path, *, what: str) -> None:
    """Makes sure that nobody alive holds a lease, without taking it.

    Raises:
        SweepError: If somebody does.
    """
    if last := newest(folder):
        other, renewed = _look(last)
        _refuse_if_alive(other, time.time() - renewed, what)


def _refuse_if_alive(other: Mapping[str, Any], age_seconds: float, what: str) -> None:
    if other.get("state") != "running" or not _is_alive(other, age_seconds):
        return
    far = other.get("place") != _place()
    remedy = f" Its last sign of life is {age_seconds:.0f} s old; after {STALE_SECONDS:g} s it counts as dead."
    raise SweepError(
        f"{what}: only one process may work on it, but {_who(other)} does. Wait for it, or stop it with SIGINT."
        f"{remedy if far else ''}"
    )


def read(folder: Path) -> dict[str, Any] | None:
    """What the last holder says of itself; `state` is `died` when it is gone without a word. None if there was none."""
    last = newest(folder)
    if last is None:
        return None
    document, renewed = _look(last)
    if document.get("state") == "running" and not _is_alive(document, time.time() - renewed):
        document["state"] = "died"
    return document


def read_session(paths: SweepPaths) -> dict[str, Any]:
    """The last session of a sweep; `state` is `died` when its driver is gone without a word.

    Returns:
        What the driver wrote; `seconds` of all sessions so far, and `trials` by state, or `{"state": "new"}` with
        neither when no session has run.
    """
    return {"seconds": 0.0, "trials": {}} | (read(paths.sessions) or {"state": "new"})


def session_notes(paths: SweepPaths) -> tuple[str, ...]:
    """What a driver at work says of troubles and waiting; nothing of one that is gone."""
    session = read_session(paths)
    return tuple(session.get("notes", ())) if session["state"] == "running" else ()


def write_session(paths: SweepPaths, document: Mapping[str, Any]) -> None:
    """Makes up what the last driver said, for a sweep that no driver is at work on."""
    paths.sessions.mkdir(parents=True, exist_ok=True)
    with replacing(paths.session) as temporary:
        temporary.write_text(json.dumps(document, indent=1), encoding="utf-8")


def newest(folder: Path) -> Path | None:
    """The file of the last holder."""
    return max((path for path in folder.glob("*.json") if path.stem.isdecimal()), key=_number, default=None)


def _is_alive(document: Mapping[str, Any], age_seconds: float) -> bool:
    if document.get("born") is not None and document.get("place") == _place():
        return _born(document["pid"]) == document["born"]
    return age_seconds < STALE_SECONDS


def _place() -> str:
    """Where process numbers mean the same: this boot of this machine, and this container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _born(pid: int) -> str | None:
    """When a process was started, so that another one of the same number is not taken for it; None if it is dead."""
    try:
        # The name of a process, in brackets, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _who(document: Mapping[str, Any]) -> str:
    since = str(document.get("since", ""))[:19].replace("T", " ")
    known = f"process {document.get('pid', '?')} on {document.get('host', '?')}"
    return f"{known} (since {since} UTC)" if since else known


def _write(path: Path, document: Mapping[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1), encoding="utf-8")


def _look(path: Path) -> tuple[dict[str, Any], float]:
    """What a holder said, and when by the file system's clock; opened first, for a network file system to ask anew."""
    with path.open(encoding="utf-8") as file:
        try:
            return json.load(file), os.fstat(file.fileno()).st_mtime
        except ValueError:  # a damaged file: whether its holder lives, its time says
            return {"state": "running"}, os.fstat(file.fileno()).st_mtime


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.json"


def _number(path: Path) -> int:
    return int(path.stem)
