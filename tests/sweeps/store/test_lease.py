"""One process at a time, with real processes."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sweeps.errors import SweepError
from sweeps.store import lease
from sweeps.store.lease import read_session, write_session
from sweeps.store.paths import SweepPaths

REPOSITORY = Path(__file__).resolve().parents[3]
TAKE = """
import sys
from pathlib import Path
from sweeps.store import lease
from sweeps.errors import SweepError
print("ready", flush=True)
sys.stdin.readline()
try:
    lease.take(Path(sys.argv[1]), what="sweep x")
    print("taken", flush=True)
    sys.stdin.readline()
except SweepError as error:
    print(error.message, flush=True)
"""


@contextmanager
def takers(folder: Path, count: int = 1) -> Iterator[list["subprocess.Popen[str]"]]:
    """Processes that are about to take a lease when they are sent a line, and hold it until the next."""
    command, environment = [sys.executable, "-c", TAKE, str(folder)], {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    found = [
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    try:
        for process in found:
            assert line(process) == "ready"
        yield found
    finally:
        for process in found:
            process.kill()
            process.communicate()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def said(path: Path, **changes: Any) -> None:
    """Changes what a holder says of itself."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_of_processes_that_come_at_the_same_moment_one_takes_it_and_the_others_hear_its_name(tmp_path: Path) -> None:
    with takers(tmp_path / "sessions", count=6) as processes:
        for process in processes:
            go(process)
        words = [line(process) for process in processes]
        assert words.count("taken") == 1
        holder = processes[words.index("taken")]
        refused = (
            f"sweep x: only one process may work on it, but process {holder.pid} on {socket.gethostname()} (since "
        )
        others = [word for word in words if word != "taken"]
        assert len(others) == 5
        assert all(word.startswith(refused) and word.endswith("or stop it with SIGINT.") for word in others)
    assert [path.name for path in (tmp_path / "sessions").iterdir()] == ["000001.json"]


def test_a_killed_holder_is_followed_at_once_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with takers(tmp_path) as (holder,):
        go(holder)
        assert line(holder) == "taken"
        holder.send_signal(signal.SIGSTOP)  # still there
        with pytest.raises(SweepError, match=f"but process {holder.pid} on"):
            lease.take(tmp_path, what="sweep x")
        holder.kill()
        holder.wait()
        lease.take(tmp_path, what="sweep x")
    (message,) = caplog.messages
    assert message.startswith(f"sweep x: process {holder.pid} on {socket.gethostname()} (since ")
    assert message.endswith(" is gone without a word; this process takes over")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000001.json", "000002.json"]


def test_another_process_with_the_number_of_a_dead_one_is_not_taken_for_it(tmp_path: Path) -> None:
    held = lease.take(tmp_path, what="sweep x")
    with pytest.raises(SweepError):
        lease.take(tmp_path, what="sweep x")
    said(held.path, born="1")  # this process has the number, and was started later
    lease.take(tmp_path, what="sweep x")


@pytest.mark.parametrize(
    ("changes", "age", "refused"),
    [
        ({"place": "elsewhere", "pid": 1}, 0, True),
        ({"place": "elsewhere", "pid": 1}, 50, True),
        ({"place": "elsewhere", "pid": 1}, 70, False),
        ({"state": "finished"}, 0, False),
        ({"state": "interrupted", "place": "elsewhere"}, 0, False),
    ],
)
def test_a_holder_on_another_machine_lives_by_its_signs(
    tmp_path: Path, changes: dict[str, Any], age: float, *, refused: bool
) -> None:
    held = lease.take(tmp_path, what="sweep x")
    said(held.path, host="node7", **changes)
    os.utime(held.path, (time.time() - age, time.time() - age))
    if not refused:
        assert lease.take(tmp_path, what="sweep x").path.name == "000002.json"
        return
    with pytest.raises(SweepError) as raised:
        lease.take(tmp_path, what="sweep x")
    assert raised.value.exit_code == 2
    assert raised.value.message.startswith("sweep x: only one process may work on it, but process 1 on node7 (since ")
    assert f"Its last sign of life is {age} s old; after 60 s it counts as dead." in raised.value.message


def test_the_clocks_of_the_machines_do_not_matter(tmp_path: Path) -> None:
    held = lease.take(tmp_path, what="sweep x")
    said(held.path, place="elsewhere", updated="2020-01-01T00:00:00+00:00")
    with pytest.raises(SweepError):
        lease.take(tmp_path, what="sweep x")


def test_who_was_taken_over_from_hears_it_and_changes_nothing(tmp_path: Path) -> None:
    first = lease.take(tmp_path, what="sweep x")
    first.renew(trials=3)
    said(first.path, born="1")
    second = lease.take(tmp_path, what="sweep x")
    second.renew(trials=4)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for step in (first.check, first.renew):
        with pytest.raises(SweepError, match=r"sweep x: only the last to take over may write: process \d+ on "):
            step()
    first.end("failed")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    second.check()


def test_a_holder_gives_signs_of_life_by_itself_and_says_how_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.02)
    with lease.hold(tmp_path, what="sweep x") as held:
        first = held.path.stat().st_mtime_ns
        until = time.monotonic() + 20
        while held.path.stat().st_mtime_ns == first:
            assert time.monotonic() < until
            time.sleep(0.01)
        held.renew(state="finished", trials=7)
    document = json.loads(held.path.read_text())
    assert (document["state"], document["trials"], document["pid"]) == ("finished", 7, os.getpid())
    assert not [thread for thread in threading.enumerate() if thread.name == "lease"]


@pytest.mark.parametrize(("error", "state"), [(KeyError, "failed"), (KeyboardInterrupt, "interrupted")])
def test_a_holder_that_broke_off_says_how(tmp_path: Path, error: type[BaseException], state: str) -> None:
    with pytest.raises(error), lease.hold(tmp_path, what="sweep x"):
        raise error
    assert (lease.read(tmp_path) or {})["state"] == state


def test_a_full_disk_does_not_make_a_holder_look_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = lease.take(tmp_path, what="sweep x")
    os.utime(held.path, (0, 0))

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(lease, "_write", full)
    with pytest.raises(OSError, match="No space left"):
        held.renew()
    assert time.time() - held.path.stat().st_mtime < 60


def test_a_damaged_file_counts_for_as_long_as_it_is_young(tmp_path: Path) -> None:
    (tmp_path / "000004.json").write_text("{")
    with pytest.raises(SweepError, match=r"but process \? on \? does"):
        lease.take(tmp_path, what="sweep x")
    os.utime(tmp_path / "000004.json", (0, 0))
    assert lease.take(tmp_path, what="sweep x").path.name == "000005.json"


def test_a_folder_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SweepError, match="must be a folder that can be written"):
        lease.take(tmp_path / "file", what="sweep x")


def test_a_driver_that_is_gone_without_a_word_has_died(tmp_path: Path) -> None:
    paths = SweepPaths(tmp_path, "small")
    assert read_session(paths) == {"state": "new", "seconds": 0.0, "trials": {}}
    held = lease.take(paths.sessions, what="sweep small")
    assert read_session(paths)["state"] == "running"
    said(held.path, born="1")
    assert read_session(paths)["state"] == "died"
    write_session(paths, {"state": "running", "host": "elsewhere", "pid": 1})
    assert read_session(paths)["state"] == "running"
    os.utime(paths.session, (0, 0))
    assert read_session(paths)["state"] == "died"
    write_session(paths, {"state": "finished", "host": "elsewhere", "pid": 1})
    os.utime(paths.session, (0, 0))
    assert read_session(paths) == {
        "state": "finished", "host": "elsewhere", "pid": 1, "seconds": 0.0, "trials": {},
    }  # fmt: skip
