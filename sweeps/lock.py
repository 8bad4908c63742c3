"""One process at a time."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sweeps.errors import SweepError


@contextmanager
def only_one(path: Path, *, what: str) -> Iterator[None]:
    """Holds a lock while the block runs. The system frees it when its process ends, however it ends.

    Args:
        path: The lock's file; created if missing, and left there.
        what: Who may hold it, for the message.

    Raises:
        SweepError: If another process holds it, or the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise SweepError(
            f"{path}: must be a file that can be written, but got: {error}. Choose another --root."
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise SweepError(
                f"{what}: only one may work at a time, but {file.read().strip() or 'another process'} does. "
                "Wait for it, or stop it with SIGINT."
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
