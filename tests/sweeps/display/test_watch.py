"""Watching a sweep while it runs: another process drives it, here by hand."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sweeps.display.watch import watch, watch_as_json
from sweeps.store.paths import SweepPaths
from sweeps.stored import StoredSweep
from tests.sweeps.heartbeats import beat

EndedRow = Callable[..., dict[str, Any]]
WriteSweep = Callable[..., SweepPaths]
REPOSITORY = Path(__file__).resolve().parents[3]


class Looks:
    """A sweep that goes on by one state each time it is looked at."""

    def __init__(self, paths: SweepPaths, states: list[str]) -> None:
        self._paths, self._states, self.count = paths, states, 0

    def __call__(self) -> StoredSweep:
        beat(self._paths, self._states[self.count], seconds=60.0 + self.count)
        self.count += 1
        return StoredSweep.at(self._paths)


@pytest.fixture
def paths(tmp_path: Path, ended_row: EndedRow, write_sweep: WriteSweep) -> SweepPaths:
    return write_sweep(tmp_path, [ended_row(trial) for trial in range(3)], asked=6)


@pytest.mark.parametrize("end", ["finished", "interrupted", "failed"])
def test_it_stays_until_the_sweep_has_ended(paths: SweepPaths, end: str) -> None:
    looks, stream = Looks(paths, ["running", "running", end]), io.StringIO()
    row = watch(looks, Console(file=stream, width=100), seconds=0.0)
    assert (looks.count, row["state"], row["trials"]["finished"]) == (3, end, 3)
    assert stream.getvalue() == (  # the second look is too soon for another line
        "small: 3/6 trials | 3 finished  3 running  6 of 12 epochs  after 1 min 0 s  about 1 min 0 s left | "
        "best accuracy, remaining <= 2 %: -  <= 5 %: -  <= 20 %: 88.00 %  hypervolume 0.2281\n"
    )


def test_a_terminal_is_redrawn(paths: SweepPaths) -> None:
    stream = io.StringIO()
    watch(
        Looks(paths, ["running"] * 3 + ["finished"]), Console(file=stream, force_terminal=True, width=80), seconds=0.0
    )
    drawn = stream.getvalue()
    assert drawn.count("3/6") >= 3
    assert [f"after 1 min {n} s" in drawn for n in (0, 1, 2)] == [True] * 3
    assert "pack  lanes" not in drawn


def test_json_is_a_line_whenever_something_has_changed(paths: SweepPaths) -> None:
    stream = io.StringIO()
    watch_as_json(Looks(paths, ["running", "running", "finished"]), stream, seconds=0.0)
    assert [json.loads(line)["state"] for line in stream.getvalue().splitlines()] == ["running", "finished"]


def test_ctrl_c_ends_it_with_130(paths: SweepPaths) -> None:
    beat(paths, "running", seconds=60.0)
    command = [sys.executable, "-m", "sweeps", "status", "small", "--watch", "--root", str(paths.root)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr
    assert process.stderr.readline().startswith("small: 3/6 trials | 3 finished")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err


def test_a_sweep_that_is_over_is_shown_at_once(sweeps: Any, ended_row: EndedRow, write_sweep: WriteSweep) -> None:
    write_sweep(sweeps.folder / "sweeps-out", [ended_row(0)])
    done = sweeps("status", "small", "--watch")
    assert (done.code, done.err) == (0, "")
    assert "small  finished" in done.out
    assert json.loads(sweeps("status", "small", "--watch", "--json").out)["state"] == "finished"
