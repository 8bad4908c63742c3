"""A folder in an object store, as files by name: whatever PyArrow's file systems know, above all S3."""

import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pyarrow as pa
from pyarrow import fs

from sweeps.errors import SweepError
from sweeps.store.paths import TEMPORARY_PREFIX, replacing

_BLOCK_BYTES = 8 * 2**20


class Stamp(NamedTuple):
    """By which a change of a file is noticed."""

    size: int
    """In bytes."""
    time: int
    """Of its last change, in nanoseconds."""


class ObjectStore:
    """The files below an address. Names are relative to it, with `/` between their parts.

    All methods raise an OSError if the store does not answer or refuses. Credentials come from the environment.

    Attributes:
        ahead: By how many nanoseconds its clock is ahead of this machine's; 0 before `probe`.

    Args:
        uri: For example `s3://bucket/prefix` or `s3://bucket?endpoint_override=127.0.0.1:9000&scheme=http`.

    Raises:
        SweepError: If PyArrow knows no such store.
    """

    def __init__(self, uri: str) -> None:
        self.uri, self.ahead = uri, 0
        try:
            self._files, base = fs.FileSystem.from_uri(uri)
        except (pa.ArrowException, OSError) as error:
            raise SweepError(
                f"root {uri}: must be the address of an object store, but got: {_first_line(error)}. "
                "Write for example s3://bucket/prefix."
            ) from None
        self._base = base.rstrip("/")

    def probe(self) -> None:
        """Writes a small object and deletes it: so it is known that the store takes some, and what time it has."""
        name = f"{TEMPORARY_PREFIX}writable-{uuid.uuid4().hex}"  # another command may try at the same moment
        self.ahead = self.put(b"", name).time - time.time_ns()
        self.delete(name)

    def files(self, folder: str = "") -> dict[str, Stamp]:
        """All files in a folder and the folders in it; none where there is no such folder."""
        place = f"{self._base}/{folder}".rstrip("/")
        with self._answering():
            found = self._files.get_file_info(fs.FileSelector(place, recursive=True, allow_not_found=True))
        return {
            info.path[len(self._base) + 1 :]: Stamp(info.size, info.mtime_ns)
            for info in found
            if info.is_file and not info.base_name.startswith(TEMPORARY_PREFIX)
        }

    def folders(self) -> list[str]:
        """The names of the folders that lie directly in it."""
        with self._answering():
            found = self._files.get_file_info(fs.FileSelector(self._base, allow_not_found=True))
        return sorted(info.base_name for info in found if info.type is fs.FileType.Directory)

    def stamp(self, name: str) -> Stamp | None:
        """Of one file; None if there is none."""
        with self._answering():
            info = self._files.get_file_info(f"{self._base}/{name}")
        return Stamp(info.size, info.mtime_ns) if info.is_file else None

    def read(self, name: str) -> bytes:
        """The content of a small file."""
        with self._answering(), self._files.open_input_stream(f"{self._base}/{name}") as stream:
            return stream.read()

    def get(self, name: str, path: Path, stamp: Stamp) -> None:
        """Copies a file to this machine; it keeps its time.

        Raises:
            FileNotFoundError: If it was removed meanwhile.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            with (
                self._answering(),
                self._files.open_input_stream(f"{self._base}/{name}") as stream,
                temporary.open("wb") as file,
            ):
                shutil.copyfileobj(stream, file, _BLOCK_BYTES)
            os.utime(temporary, ns=(stamp.time, stamp.time))

    def put(self, content: Path | bytes, name: str) -> Stamp:
        """Copies a file, or its content, to the store; nobody sees half of it.

        Returns:
            What the store says of it.
        """
        with content.open("rb") if isinstance(content, Path) else BytesIO(content) as file, self._answering():
            self._put(file, f"{self._base}/{name}")
        stamp = self.stamp(name)
        if stamp is None:
            raise OSError(f"{self.uri}: {name} was removed as soon as it was written")
        return stamp

    def _put(self, file: BinaryIO, path: str) -> None:
        if not isinstance(self._files, fs.LocalFileSystem | fs.HadoopFileSystem):
            with self._files.open_output_stream(path) as stream:  # seen when it is whole
                shutil.copyfileobj(file, stream, _BLOCK_BYTES)
            return
        folder, _, name = path.rpartition("/")
        temporary = f"{folder}/{TEMPORARY_PREFIX}{name}-{os.getpid()}"
        self._files.create_dir(folder)
        with self._files.open_output_stream(temporary) as stream:
            shutil.copyfileobj(file, stream, _BLOCK_BYTES)
        self._files.move(temporary, path)

    def delete(self, name: str) -> None:
        """Removes a file; one that is not there is no error."""
        with self._answering():
            if self._files.get_file_info(f"{self._base}/{name}").is_file:
                self._files.delete_file(f"{self._base}/{name}")

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError) as error:
            raise OSError(f"{self.uri}: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
