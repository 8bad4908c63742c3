"""Commands of this project as a user starts them, and every process that comes of them."""

import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sweeps import results
from sweeps.display.status import status
from sweeps.store.paths import SweepPaths
from sweeps.stored import StoredSweep
from sweeps.verify import verify
from tests.processes import kill, marked

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 240
STEP = re.compile(r"^(?:sweep|confirm) \S+: (?:starting|reading .+)\n", re.MULTILINE)
"""What a start says at once: it comes before all other messages."""
AGENTS_SECONDS = 90
"""Ray 2.60's agents were seen to outlive a killed driver by 62 s."""
SMALL = ["fixed.epochs=3", "fixed.width=0.3", "constraints=[]", "sampler={name: random, seed: 5}"]


class Done(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


class Machine:
    """Runs commands, and knows every process that came of them by a mark in its environment."""

    def __init__(
        self,
        root: Path,
        environment: Mapping[str, str] | None = None,
        *,
        address: str | None = None,
        checkout: Path = REPOSITORY,
    ) -> None:
        """Takes where sweeps are kept, and a node's checkout whose environment runs them in place of this one."""
        self.root, self._named, self._checkout = root, address or str(root), checkout
        self._python = sys.executable if checkout == REPOSITORY else str(checkout / ".venv/bin/python")
        self.mark, self._environment = {"SWEEPS_TEST_MARK": uuid.uuid4().hex}, environment or {}

    def begin(
        self,
        *arguments: str,
        program: Sequence[str] = ("-m", "sweeps"),
        before: Sequence[str] = (),
        **environment: str,
    ) -> "subprocess.Popen[str]":
        """Starts a command in a process group of its own, as a shell does; `before` is what starts it."""
        command = [*before, self._python, *program, *arguments, "--root", self._named]
        # On a CPU everywhere: a result there does not change with its company in a single bit.
        environment = os.environ | self._environment | {"CUDA_VISIBLE_DEVICES": ""} | environment | self.mark
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self._checkout, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )

    def end(self, process: "subprocess.Popen[str]", *, within_seconds: float = PATIENCE_SECONDS) -> Done:
        """Waits for a command."""
        try:
            out, err = process.communicate(timeout=within_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            pytest.fail(f"{process.args} did not end; it wrote: {process.communicate()[1]}")
        return Done(process.returncode, out, STEP.sub("", err))

    def __call__(self, *arguments: str) -> Done:
        return self.end(self.begin(*arguments))

    def sweep(self, *arguments: str, changes: Sequence[str], **begun: Any) -> "subprocess.Popen[str]":
        """Starts a sweep over the digits; `begun` as in `begin`."""
        sets = [word for change in changes for word in ("--set", change)]
        return self.begin("run", "fcn_digits", *arguments, *sets, **begun)

    def processes(self) -> dict[int, str]:
        """The command lines of all processes that came of commands here and still live."""
        return marked(self.mark)

    def gone(self, *, within_seconds: float) -> bool:
        """Waits until none of its processes lives."""
        until = time.monotonic() + within_seconds
        while self.processes() and time.monotonic() < until:
            time.sleep(0.2)
        return not self.processes()

    def clear(self, *, within_seconds: float = 15) -> None:
        """Ends what is left so long after; nothing should be."""
        self.gone(within_seconds=within_seconds)
        left = self.processes()
        kill(left)
        assert left == {}

    def status(self, name: str) -> dict[str, Any]:
        """How far a sweep is."""
        return status(StoredSweep.at(SweepPaths(self.root, name)))

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

    def started(self, name: str, process: "subprocess.Popen[str]") -> bool:
        """Whether a command has begun to work on a sweep."""
        with suppress(FileNotFoundError):
            return json.loads(SweepPaths(self.root, name).session.read_text())["pid"] == process.pid
        return False

    def check(self, name: str, trials: int, *, uri: str | None = None) -> list[dict[str, Any]]:
        """What must hold after any fault: every trial has ended, once, and all stores say the same of it.

        Returns:
            The rows of its trials.
        """
        rows = self.rows(name)
        assert [row["trial"] for row in rows] == list(range(trials))
        for row in rows:
            assert row["state"] in ("finished", "stopped") or (row["state"] == "failed" and row["reason"]), row
        attempts = {row["trial"]: row["attempt"] for row in rows}
        epochs = results.load_epochs(self.root, name, latest_attempt=False).select(["trial", "attempt"]).to_pylist()
        assert [epoch for epoch in epochs if epoch["attempt"] > attempts[epoch["trial"]]] == []
        assert self.verify(name, uri=uri) == {
            "ok": True, "trials": trials, "mlflow_runs": trials, "finished_twice": [], "differences": [],
        }  # fmt: skip
        return rows

    def verify(self, name: str, *, uri: str | None = None) -> dict[str, Any]:
        """What `sweeps verify` says: of this checkout it is asked in this process, which has imported all it needs."""
        if self._checkout == REPOSITORY:
            paths = SweepPaths(self.root, name)
            return verify(StoredSweep.at(paths), uri)
        done = self("verify", name, "--json", *(("--tracking-uri", uri) if uri else ()))
        assert done.out, done.err
        return json.loads(done.out)


@contextmanager
def machine_of(
    root: Path, *, within_seconds: float = 15, environment: Mapping[str, str] | None = None
) -> Iterator[Machine]:
    """A machine whose every process must have gone so long after the block has ended."""
    made = Machine(root, environment)
    yield made
    made.clear(within_seconds=within_seconds)
