"""Client of an object store (S3, Google Cloud Storage, Azure): objects by name, conditional writes, retries."""

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from sweeps.errors import SweepError
from sweeps.remote.connection import brief, connect
from sweeps.store.paths import TEMPORARY_PREFIX, replacing

if TYPE_CHECKING:
    from obstore import PutMode, UpdateVersion

_BLOCK_BYTES = 8 * 2**20
_RIGHTS = "reading, listing, writing and deleting must be allowed"


class ObjectVersion(NamedTuple):
    """One version of an object."""

    size: int
    """In bytes."""
    mtime_ns: int
    """Time of its last change by the store's clock."""
    e_tag: str
    """Changes with the content."""


class ObjectStore:
    """The objects below an address. Names are relative to it, with `/` between their parts.

    All methods raise an OSError if the store does not answer or refuses: NotADirectoryError if there is no such bucket,
    FileNotFoundError if there is no such object, PermissionError if access is denied. Credentials come from the
    environment.

    Attributes:
        ahead_ns: By how much the store's clock is ahead of this machine's; 0 before `probe`.

    Args:
        uri: For example `s3://bucket/prefix` or `s3://bucket?endpoint_override=127.0.0.1:9000&scheme=http`.

    Raises:
        SweepError: If it is no address of an object store.
    """

    def __init__(self, uri: str) -> None:
        self.uri, self.ahead_ns = uri, 0
        self._store = connect(uri)

    def probe(self) -> None:
        """Creates and deletes a small object: tells whether the store is writable, and what time it has.

        Raises:
            SweepError: If the store ignores the condition of a write: nothing would keep two drivers apart.
        """
        name = f"{TEMPORARY_PREFIX}writable-{uuid.uuid4().hex}"  # another command may try at the same moment
        self.compare_and_swap(b"", name, None)
        try:
            created = self.version(name)
            self.ahead_ns = created.mtime_ns - time.time_ns() if created else 0
            with suppress(FileExistsError):
                self.compare_and_swap(b"", name, None)
                raise SweepError(
                    f"root {self.uri}: the store must honour conditional writes (If-None-Match), but created one "
                    "object twice. Use a store, or a version of it, that does.",
                    exit_code=1,
                )
        finally:
            self.delete(name)

    def files(self, folder: str = "") -> dict[str, ObjectVersion]:
        """All objects in a folder and the folders in it; none where there is no such folder."""
        with self._answering(of="bucket"):
            return {
                found["path"]: _version_of(found["size"], found["last_modified"], found["e_tag"])
                for page in obstore.list(self._store, folder or None)
                for found in page
                if not found["path"].rpartition("/")[2].startswith(TEMPORARY_PREFIX)
            }

    def folders(self) -> list[str]:
        """The names of the folders that lie directly in it."""
        with self._answering(of="bucket"):
            return sorted(obstore.list_with_delimiter(self._store)["common_prefixes"])

    def version(self, name: str) -> ObjectVersion | None:
        """The present version of an object; None if there is none."""
        with suppress(FileNotFoundError), self._answering():
            found = obstore.head(self._store, name)
            return _version_of(found["size"], found["last_modified"], found["e_tag"])
        return None

    def read(self, name: str) -> bytes:
        """The content of a small object."""
        with self._answering():
            return obstore.get(self._store, name).bytes().to_bytes()

    def download(self, name: str, path: Path, mtime_ns: int) -> str:
        """Copies an object to this machine.

        Args:
            name: Of the object.
            path: Where to; seen when it is complete.
            mtime_ns: What the file is to give as the time of its last change.

        Returns:
            The e_tag of the version that was copied.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            with self._answering(), temporary.open("wb") as file:
                found = obstore.get(self._store, name)
                for block in found.stream(min_chunk_size=_BLOCK_BYTES):
                    file.write(block)
            os.utime(temporary, ns=(mtime_ns, mtime_ns))
            return _tag(found.meta["e_tag"])

    def put(self, content: Path | bytes, name: str) -> str:
        """Writes an object in place of any other; nobody sees half of it.

        Args:
            content: A file, or what is to be in the object.
            name: Of the object.

        Returns:
            Its e_tag.
        """
        return self._put(content, name, "overwrite")

    def compare_and_swap(self, content: Path | bytes, name: str, expected: str | None) -> str:
        """Writes an object if it is the expected one that it replaces: of several who try, one succeeds.

        Args:
            content: A file, or what is to be in the object.
            name: Of the object.
            expected: The e_tag of the version to replace; None if there must be none.

        Returns:
            Its e_tag.

        Raises:
            FileExistsError: If the object is another one than expected.
        """
        if expected is None:
            return self._put(content, name, "create")
        # Google's store compares versions, which no listing tells, and Azure's lists e_tags without their quotes.
        now: UpdateVersion = {}
        with suppress(FileNotFoundError), self._answering():
            found = obstore.head(self._store, name)
            now["e_tag"] = found["e_tag"]
            if found["version"] is not None:
                now["version"] = found["version"]
        if _tag(now.get("e_tag")) != expected:
            raise FileExistsError(f"{self.uri}: {name} was written by somebody else")
        return self._put(content, name, now)

    def delete(self, name: str) -> None:
        """Removes an object; one that is not there is no error."""
        with suppress(FileNotFoundError), self._answering():
            obstore.delete(self._store, name)

    def _put(self, content: Path | bytes, name: str, mode: "PutMode") -> str:
        source = content.open("rb") if isinstance(content, Path) else nullcontext(BytesIO(content))
        with source as file, self._answering(of="bucket"):
            try:
                done = obstore.put(self._store, name, file, mode=mode, chunk_size=_BLOCK_BYTES)
            except (AlreadyExistsError, PreconditionError):
                raise FileExistsError(f"{self.uri}: {name} was written by somebody else") from None
        return _tag(done["e_tag"])

    @contextmanager
    def _answering(self, of: Literal["object", "bucket"] = "object") -> Iterator[None]:
        """Translates the client's errors; `of` says what it is that is missing where the store finds nothing."""
        try:
            yield
        except (BaseError, OSError) as error:
            if isinstance(error, FileExistsError):
                raise
            text, missing = brief(error), FileNotFoundError
            if of == "bucket":
                missing = NotADirectoryError
            status = "404" if isinstance(error, FileNotFoundError) else text[:3]
            kind, rule = {
                "401": (PermissionError, _RIGHTS),
                "403": (PermissionError, _RIGHTS),
                "404": (missing, f"there must be such {'a bucket' if of == 'bucket' else 'an object'}"),
            }.get(status, (OSError, "the store must answer"))
            raise kind(f"{self.uri}: {rule}, but got: {text}") from None


def _version_of(size: int, last_modified: datetime, e_tag: str | None) -> ObjectVersion:
    # Whole microseconds: a float would not be the same number each time it is asked.
    return ObjectVersion(size, round(last_modified.timestamp() * 10**6) * 1000, _tag(e_tag))


def _tag(e_tag: str | None) -> str:
    return (e_tag or "").strip('"')
