"""Commands as a user runs them, in processes of their own, and all processes that come of them."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sweeps import results
from sweeps.paths import SweepPaths
from sweeps.status import status

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 110
MARK = "SWEEPS_TEST_MARK"
OBJECTIVES = {"val_accuracy": "maximize", "remaining": "minimize"}
SMALL = ["fixed.epochs=3", "fixed.width=0.3", "constraints=[]", "sampler={name: random, seed: 5}"]


class Done(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


class Machine:
    """Runs commands, and knows every process that came of them by a mark in its environment."""

    def __init__(self, root: Path, environment: Mapping[str, str] | None = None) -> None:
        self.root, self._mark, self._environment = root, uuid.uuid4().hex, environment or {}

    def begin(self, *arguments: str) -> "subprocess.Popen[str]":
        """Starts a command in a process group of its own, as a shell does."""
        command = [sys.executable, "-m", "sweeps", *arguments, "--root", str(self.root)]
        # On a CPU everywhere: a result there does not change with its company in a single bit.
        environment = {**os.environ, **self._environment, MARK: self._mark, "CUDA_VISIBLE_DEVICES": ""}
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )

    def end(self, process: "subprocess.Popen[str]") -> Done:
        """Waits for a command."""
        try:
            out, err = process.communicate(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            pytest.fail(f"{process.args} did not end; it wrote: {process.communicate()[1]}")
        return Done(process.returncode, out, err)

    def __call__(self, *arguments: str) -> Done:
        return self.end(self.begin(*arguments))

    def sweep(self, *arguments: str, changes: list[str]) -> "subprocess.Popen[str]":
        """Starts a sweep over the digits."""
        sets = [word for change in changes for word in ("--set", change)]
        return self.begin("run", "fcn_digits", *arguments, *sets)

    def processes(self) -> dict[int, str]:
        """The command lines of all processes that came of commands here and still live."""
        found: dict[int, str] = {}
        for folder in Path("/proc").iterdir():
            with suppress(OSError):
                if folder.name.isdecimal() and f"{MARK}={self._mark}".encode() in (folder / "environ").read_bytes():
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def gone(self, *, within_seconds: float) -> bool:
        """Waits until none of its processes lives."""
        until = time.monotonic() + within_seconds
        while self.processes() and time.monotonic() < until:
            time.sleep(0.2)
        return not self.processes()

    def clear(self) -> None:
        """Ends what is left; nothing should be."""
        self.gone(within_seconds=15)
        left = self.processes()
        for process in left:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        assert left == {}

    def status(self, name: str) -> dict[str, Any]:
        """How far a sweep is."""
        return status(SweepPaths(self.root, name), OBJECTIVES)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Its ended trials."""
        return results.load(self.root, name).to_pylist()

    def wait(self, what: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
        """Waits until something holds while a command works."""
        until = time.monotonic() + PATIENCE_SECONDS
        while not what():
            if process.poll() is not None or time.monotonic() > until:
                process.kill()
                pytest.fail(f"waited in vain for {process.args}; it wrote: {process.communicate()[1]}")
            time.sleep(0.1)
