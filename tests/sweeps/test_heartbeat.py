import os
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sweeps.heartbeat import read_session, write_session
from sweeps.paths import SweepPaths


def document(**changes: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "name": "small", "state": "running", "host": socket.gethostname(), "pid": os.getpid(),
        "updated": now.isoformat(), "seconds": 3.0, "trials": {},
    } | changes  # fmt: skip


def test_a_driver_that_is_gone_without_a_word_has_died(tmp_path: Path) -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait(timeout=60)
    old = (datetime.now(UTC) - timedelta(minutes=2)).isoformat()
    cases = {
        ("running", os.getpid(), socket.gethostname(), None): "running",
        ("running", done.pid, socket.gethostname(), None): "died",
        ("interrupted", done.pid, socket.gethostname(), None): "interrupted",
        ("running", done.pid, "elsewhere", None): "running",
        ("running", os.getpid(), "elsewhere", old): "died",
        ("finished", os.getpid(), "elsewhere", old): "finished",
    }
    paths = SweepPaths(tmp_path, "small")
    paths.folder.mkdir()
    for (state, pid, host, updated), expected in cases.items():
        changes = {"updated": updated} if updated else {}
        write_session(paths, document(state=state, pid=pid, host=host, **changes))
        assert read_session(paths)["state"] == expected, (state, pid, host, updated)


def test_before_the_first_session_there_is_none(tmp_path: Path) -> None:
    assert read_session(SweepPaths(tmp_path, "small")) == {"state": "new", "seconds": 0.0, "trials": {}}
