"""Processes that tests start, however far they have come from their parents."""

import os
import signal
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path


def marked(mark: Mapping[str, str]) -> dict[int, str]:
    """The command lines of the living processes with an environment variable of this value, by process id."""
    found: dict[int, str] = {}
    ((name, value),) = mark.items()
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if folder.name.isdecimal() and f"{name}={value}".encode() in (folder / "environ").read_bytes():
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def kill(processes: Iterable[int]) -> None:
    """SIGKILL for those that still live."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
