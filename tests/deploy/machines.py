"""Machines for tests of clusters: each with its own processes and /tmp, all on one network that has loopback only."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

PATIENCE_SECONDS = 240.0
METADATA = "169.254.169.254"
"""Where an instance on EC2 asks for its metadata."""
_PREPARE = """set -e
ip link set lo up
ip addr replace "$1" dev lo
shift
mount -t tmpfs none /mnt
for folder in "$@"; do mkdir -p "/mnt$folder" && mount --bind "$folder" "/mnt$folder"; done
mount -t tmpfs none /tmp
mkdir -p "$HOME"
for folder in "$@"; do mkdir -p "$folder" && mount --move "/mnt$folder" "$folder"; done
"""
REPOSITORY = Path(__file__).resolve().parents[2]


Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Machine:
    """Namespaces of one process; all that was started in them ends with it."""

    process: int
    environment: Mapping[str, str]

    def command(self, script: str, *arguments: str) -> list[str]:
        """The words that run a script of bash on this machine."""
        here = ["nsenter", f"--target={self.process}", "--net", "--pid", "--mount", "--wd=/"]
        settings = [f"{name}={value}" for name, value in self.environment.items()]
        return [*here, "env", "-i", *settings, "bash", "-c", script, "bash", *arguments]

    def run(self, script: str, *arguments: str) -> Done:
        """Runs a script of bash to its end."""
        with in_background(self, script, *arguments) as begun:
            out, err = begun.communicate(timeout=PATIENCE_SECONDS)
            return Done(begun.args, begun.wait(), out, err)

    def check(self, script: str, *arguments: str) -> str:
        """The same for one that has to succeed; returns what it prints."""
        done = self.run(script, *arguments)
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout


@contextmanager
def machine(shared: Path, environment: Mapping[str, str], beside: Machine | None = None) -> Iterator[Machine]:
    """A machine.

    Args:
        shared: A folder that it sees, as this checkout, although they may lie in /tmp.
        environment: Of all its processes.
        beside: Another one on whose network it is; else it has a new one.
    """
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        pytest.skip("network namespaces need root, util-linux and iproute2")
    network = ["nsenter", f"--net=/proc/{beside.process}/ns/net"] if beside else ["unshare", "--net"]
    own = ["unshare", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc", "sleep", "infinity"]
    with subprocess.Popen([*network, *own], stderr=subprocess.PIPE, text=True) as started:
        try:
            children = Path(f"/proc/{started.pid}/task/{started.pid}/children")
            until = time.monotonic() + PATIENCE_SECONDS
            while not (child := children.read_text()) or not _sleeps(int(child)):
                if started.poll() is not None:
                    pytest.skip(f"no namespaces here: {started.communicate()[1].strip()}")
                assert time.monotonic() < until
                time.sleep(0.02)
            settings = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp/home", "LANG": "C.UTF-8"}  # noqa: S108
            made = Machine(int(child), {**settings, **environment})
            made.check(_PREPARE, METADATA, str(shared), str(REPOSITORY))
            yield made
        finally:
            started.kill()


def _sleeps(process: int) -> bool:
    return Path(f"/proc/{process}/cmdline").read_bytes().startswith(b"sleep\0")


def until(condition: Callable[[], object], what: str) -> None:
    """Waits for a condition; `what` is said if it never comes true."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)


@contextmanager
def in_background(place: Machine, script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Runs a script of bash on a machine beside the test, at most until the end of the block."""
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(
        place.command(script, *arguments), stdin=null, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as begun:
        try:
            yield begun
        finally:
            if begun.poll() is None:
                os.killpg(begun.pid, signal.SIGKILL)  # nsenter and what it has started
