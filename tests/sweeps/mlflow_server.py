"""A real MLflow server for tests, on loopback."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from sweeps.tracking import mlflow_store


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def answers(port: int) -> bool:
    """Whether a server of MLflow does."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def server(root: Path, port: int) -> Iterator[None]:
    """MLflow's server on loopback in a process group of its own, killed as a whole when the block ends."""
    command = mlflow_store.ui_command(mlflow_store.default_uri(root), root=root, port=port)
    with (root / "server.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, cwd=root)
    try:
        deadline = time.monotonic() + 120
        while not answers(port):
            assert process.poll() is None, (root / "server.log").read_text()
            assert time.monotonic() < deadline, (root / "server.log").read_text()
            time.sleep(0.1)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
