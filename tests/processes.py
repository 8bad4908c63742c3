"""Processes that tests start, however far they have come from their parents."""

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path


def marked(mark: Mapping[str, str]) -> list[int]:
    """The living processes with an environment variable of this value."""
    ((name, value),) = mark.items()
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if folder.name.isdecimal() and f"{name}={value}".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


def kill(mark: Mapping[str, str]) -> None:
    """SIGKILL for all of them."""
    for process in marked(mark):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
