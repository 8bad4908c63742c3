"""The copy of a sweep of an object store on this machine: brought up to date before a command reads it.

A copy belongs to its store: whatever differs is brought again. Only while it holds what a driver here has not sent
yet, it stays as it is, unless another driver has gone on with the sweep in the store.
"""

import fcntl
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

from sweeps.remote.client import ObjectStore, ObjectVersion
from sweeps.store.cache import BOOKS
from sweeps.store.paths import TEMPORARY_PREFIX, replacing

SET_ASIDE = ".set-aside"
"""Folder of a cached root for what could not be sent because another driver went on."""
POLL_SECONDS = 0.1
READERS_SECONDS = 10.0
"""From which on a copy that is in use, and holds what is not sent, counts as one that somebody writes."""
_THREADS = 8
_TRIES = 5

_LOG = logging.getLogger(__name__)


class FileVersion(NamedTuple):
    """One version of a file of this machine."""

    size: int
    """In bytes."""
    mtime_ns: int
    """Time of its last change."""


@dataclass(frozen=True)
class Part:
    """What of a root is kept equal together, by one writer at a time.

    Attributes:
        key: Name of its books.
        folders: Names of the folders and files that belong to it.
        without: Beginnings of names in these that do not.
        sessions: The folder of its lease, if there is one.
    """

    key: str
    folders: tuple[str, ...]
    without: tuple[str, ...] = ()
    sessions: str | None = None

    def covers(self, name: str) -> bool:
        """Whether a file belongs to it."""
        inside = any(name == folder or name.startswith(f"{folder}/") for folder in self.folders)
        return inside and not name.startswith(self.without)


def sweep_part(name: str) -> Part:
    """A sweep, but for its confirmations, which another process may write."""
    return Part(f"{name}/sweep", (name,), (f"{name}/confirm/", f"{name}/confirmed."), f"{name}/sessions")


def confirm_part(name: str) -> Part:
    """The confirmations of a sweep."""
    return Part(f"{name}/confirm", (f"{name}/confirm", f"{name}/confirmed.png"), sessions=f"{name}/confirm/sessions")


MLFLOW = Part("mlflow", ("mlflow.db", "mlflow-artifacts"))
"""The MLflow store of a root."""


class LocalCopy:
    """One part of a root, here and in its store.

    Args:
        root: The cached root.
        part: Which part.
        store: Of the root.
    """

    def __init__(self, root: Path, part: Part, store: ObjectStore) -> None:
        self.root, self.part, self.store = root, part, store
        self._books = root / BOOKS / part.key
        self._books.parent.mkdir(parents=True, exist_ok=True)
        self.known: dict[str, tuple[str, FileVersion]] = {}
        self.dirty = False
        self.load()

    def load(self) -> None:
        """Reads what is known to be equal, by name: the e_tag in the store and the version here."""
        with suppress(FileNotFoundError, ValueError):
            books = json.loads(self._books.with_suffix(".json").read_text(encoding="utf-8"))
            self.known = {name: (e_tag, FileVersion(*here)) for name, (e_tag, here) in books["known"].items()}
            self.dirty = books["unsent"]

    def save(self) -> None:
        """Writes that down."""
        with replacing(self._books.with_suffix(".json")) as temporary:
            temporary.write_text(json.dumps({"unsent": self.dirty, "known": self.known}), encoding="utf-8")

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Keeps other processes of this machine from the copy; tells whether that succeeded."""
        with self._books.with_suffix(".lock").open("w") as file:
            mine = _lock(file)
            if mine:
                self.load()
            yield mine

    @contextmanager
    def used(self) -> Iterator[Callable[[], bool]]:
        """Keeps the files from being brought while several processes write them, as they do a database.

        Yields:
            Tells whether nobody else uses them, for the last one to send them. To be asked once, at the end.
        """
        with self._books.with_suffix(".users").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            yield lambda: _lock(file)

    @contextmanager
    def claimed(self) -> Iterator[bool]:
        """Keeps other processes of this machine from a copy that is written; tells whether that succeeded.

        Whoever only reads holds it for moments, and is waited for; whoever writes it, to the end of his work.
        """
        began = time.monotonic()
        while True:
            with self.locked() as mine:
                if mine:
                    yield True
                    return
            self.load()
            if self.dirty and time.monotonic() - began > READERS_SECONDS:
                yield False
                return
            time.sleep(POLL_SECONDS)

    def here(self) -> dict[str, FileVersion]:
        """The files of the part on this machine."""
        found: dict[str, FileVersion] = {}
        for folder in self.part.folders:
            place = self.root / folder
            for path in [place, *place.rglob("*")]:
                name = path.relative_to(self.root).as_posix()
                # A file may vanish meanwhile, and what nobody has finished is not to be sent, nor a link: a lock.
                if self.part.covers(name) and not any(at.startswith(TEMPORARY_PREFIX) for at in name.split("/")):
                    with suppress(OSError):
                        if path.is_file() and not path.is_symlink():
                            found[name] = version_of(path)
        return found

    def there(self, *folders: str) -> dict[str, ObjectVersion]:
        """The files of the part in the store, or of these folders of it."""
        found: dict[str, ObjectVersion] = {}
        for folder in folders or self.part.folders:
            if version := self.store.version(folder):
                found[folder] = version
            else:
                found |= {name: at for name, at in self.store.files(folder).items() if self.part.covers(name)}
        return found

    def fetch(self, wanted: Callable[[str], bool] = lambda _: True) -> None:
        """Makes the files that are wanted equal those of the store.

        Raises:
            OSError: If the store does not answer.
        """
        while True:
            with self.locked() as mine:
                if mine:
                    with self._books.with_suffix(".users").open("w") as file:
                        if _lock(file):  # otherwise they are being written here
                            self._fetch(wanted)
                    return
            self.load()
            if self.dirty:
                return  # while a driver works here, its own files are the newest
            time.sleep(POLL_SECONDS)  # somebody else brings them

    def _fetch(self, wanted: Callable[[str], bool]) -> None:
        if self.dirty and not self._has_moved():
            return
        if self.dirty:
            self._set_aside()
        for attempt in range(_TRIES):
            try:
                # A driver sends the study and its lease last, so these are brought first: nothing is missing then.
                self._bring(lambda name: wanted(name) and _is_last(name))
                self._bring(lambda name: wanted(name) and not _is_last(name))
            except FileNotFoundError:  # it merges its files
                if attempt == _TRIES - 1:
                    raise
            else:
                break
        self.save()

    def _bring(self, wanted: Callable[[str], bool]) -> None:
        there = {name: version for name, version in self.there().items() if wanted(name)}
        # A lease that was renewed may read as it did before: it is its time that counts.
        news = [name for name, version in there.items() if not self._equal(name, version.e_tag) or _is_lease(name)]
        in_parallel(lambda name: self.bring(name, there[name]), news)
        for name in [name for name in self.known if wanted(name) and name not in there]:
            (self.root / name).unlink(missing_ok=True)
            del self.known[name]

    def bring(self, name: str, version: ObjectVersion) -> None:
        """Downloads one file; a lease, whose age is judged here, with its time by this machine's clock."""
        ahead_ns = self.store.ahead_ns if _is_lease(name) else 0
        e_tag = self.store.download(name, self.root / name, version.mtime_ns - ahead_ns)
        self.known[name] = e_tag, version_of(self.root / name)

    def _equal(self, name: str, e_tag: str) -> bool:
        with suppress(FileNotFoundError):
            return self.known.get(name) == (e_tag, version_of(self.root / name))
        return False

    def _has_moved(self) -> bool:
        """Whether another driver has gone on in the store with what this machine has not sent yet."""
        if self.part.sessions is None:
            return False
        last = max(self.there(self.part.sessions), default="")
        if not last or last < max(filter(_is_lease, self.here()), default=""):
            return False
        path = self.root / last
        return not path.exists() or not same_holder(path.read_bytes(), self.store.read(last))

    def _set_aside(self) -> None:
        stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
        for name in self.here():
            to = self.root / SET_ASIDE / stamp / name
            to.parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).rename(to)
        self.known, self.dirty = {}, False
        _LOG.warning(
            "%s: another machine has gone on with it, so what this one had not sent is of no use any more. "
            "It was set aside in %s.",
            self.part.key,
            self.root / SET_ASIDE / stamp,
        )


def _lock(file: IO[str]) -> bool:
    """Takes a file's lock for this process alone; tells whether that succeeded."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def version_of(path: Path) -> FileVersion:
    """The present version of a file of this machine."""
    found = path.stat()
    return FileVersion(found.st_size, found.st_mtime_ns)


def in_parallel(work: Callable[[str], Any], names: Iterable[str]) -> None:
    """Does something with many files at a time; raises what the first of them raises."""
    with ThreadPoolExecutor(_THREADS) as pool:
        for done in [pool.submit(partial(work, name)) for name in names]:
            done.result()


def same_holder(one: bytes, other: bytes) -> bool:
    """Whether two files of a lease are by the same process."""
    try:
        documents = [json.loads(text) for text in (one, other)]
    except ValueError:
        return False
    return all(documents[0].get(name) == documents[1].get(name) for name in ("host", "pid", "since"))


def _is_lease(name: str) -> bool:
    return "/sessions/" in name


def _is_last(name: str) -> bool:
    return name.endswith(("study.journal", "study.url", "space.yaml")) or _is_lease(name)
