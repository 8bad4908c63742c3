"""A driver that is suspended for so long that another one takes over, and that then wakes up."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from sweeps.store.lease import STALE_SECONDS
from sweeps.store.paths import SweepPaths
from tests.faults.soak import HOUR, SOAK
from tests.sweeps.machine import SMALL, Machine

pytestmark = pytest.mark.timeout(HOUR if SOAK else 600)

NAME, TRIALS, LANES = "taken", 12, "3"
APART = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"]
"""Its process numbers mean nothing here: as on another machine, only the lease says whether it lives."""


@pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run([*APART, "true"], capture_output=True, check=False).returncode != 0,
    reason="needs unshare and a kernel that lets everybody make namespaces",
)
def test_a_driver_that_wakes_up_after_another_took_over_writes_nothing_more(tmp_path: Path) -> None:
    machine, paths = Machine(tmp_path), SweepPaths(tmp_path, NAME)
    changes = [*SMALL, "fixed.epochs=60"]
    size = ("--trials", str(TRIALS), "--lanes", LANES, "--in-process")
    first = machine.sweep("--name", NAME, *size, changes=changes, before=APART)
    machine.wait(lambda: paths.sessions.exists() and machine.status(NAME)["trials"]["finished"] > 0, first)
    (sleeper,) = [pid for pid, line in machine.processes().items() if "-m sweeps run" in line and "unshare" not in line]
    os.kill(sleeper, signal.SIGSTOP)
    refused = machine("resume", NAME, "--in-process")
    assert refused.code == 2
    assert f"after {STALE_SECONDS:g} s it counts as dead" in refused.err
    # As if it had slept for long.
    then = time.time() - STALE_SECONDS - 1
    os.utime(paths.session, (then, then))

    second = machine.begin("resume", NAME, *size[2:])
    machine.wait(lambda: machine.started(NAME, second), second)
    os.kill(sleeper, signal.SIGCONT)
    woken = machine.end(first)
    assert woken.code == 1, woken.err
    assert "only the last to take over may write" in woken.err
    assert "Traceback" not in woken.err
    done = machine.end(second)
    assert done.code == 0, done.err
    assert json.loads(paths.session.read_text())["pid"] == second.pid
    machine.check(NAME, TRIALS)
    machine.clear()
