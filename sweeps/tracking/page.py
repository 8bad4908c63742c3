"""MLflow's page on a sweep's store, for this machine only."""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sweeps.errors import SweepError
from sweeps.tracking import mlflow_store

HOST = "127.0.0.1"
PATIENCE_SECONDS = 5
"""How long the page may take to end before it is killed."""


def serve(uri: str, sweep: str, *, root: Path, port: int, say: Callable[[dict[str, str]], None]) -> None:
    """Starts MLflow's page on a database and waits until it is stopped; of a server only the addresses are said.

    Args:
        uri: MLflow store.
        sweep: Whose experiment to name.
        root: Folder of all sweeps.
        port: On the loopback interface.
        say: Given the addresses of what there is to see; see `mlflow_store.addresses`.

    Raises:
        SweepError: If the store does not answer, the port is in use, or the page ends by itself.
    """
    addresses = mlflow_store.addresses(uri, sweep, root=root, port=port)
    if uri.startswith(("http://", "https://")):
        say(addresses)
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise SweepError(
                f"--port {port}: must be free on {HOST}, but {error.strerror}. Choose another --port."
            ) from error
    environment = {"MLFLOW_DISABLE_TELEMETRY": "true", **os.environ}
    command = mlflow_store.ui_command(uri, root=root, port=port)
    # In a session of its own: a Ctrl-C is for us, and MLflow's processes would each answer it with a traceback.
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(  # noqa: S603
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            _await_answer(process, port)
            if process.poll() is None:
                say(addresses)
            code = process.wait()
        finally:
            _end(process)
        log.seek(0)
        said = log.read().decode(errors="replace").strip().splitlines()
    last = f" and said: {said[-1]}" if said else ""
    raise SweepError(f"`mlflow ui` exited with code {code}{last}.", exit_code=1)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the page and the processes that it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, number)
            process.wait(timeout=PATIENCE_SECONDS)
            return


def _await_answer(process: subprocess.Popen[bytes], port: int) -> None:
    """Waits until the page answers or has ended: an address that cannot be opened yet looks like a failure."""
    while process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.2)
