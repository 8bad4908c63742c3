"""A real MLflow server that can be killed and started again, and a proxy that makes it slow or lets it refuse."""

import contextlib
import http.client
import http.server
import os
import socket
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sweeps.tracking import mlflow_store
from tests.processes import kill, marked

SLOW_SECONDS = 5.0


class Server:
    """`mlflow server` on loopback, with an SQLite store in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._mark = folder, {"SWEEPS_TEST_SERVER": str(folder)}
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]

    def start(self) -> None:
        """Returns when it answers."""
        command = mlflow_store.ui_command(mlflow_store.default_uri(self._folder), root=self._folder, port=self.port)
        log = self._folder / "log"
        with log.open("ab") as file:
            environment = os.environ | self._mark
            self._process = process = subprocess.Popen(
                command, stdout=file, stderr=file, cwd=self._folder, env=environment, start_new_session=True
            )
        until = time.monotonic() + 90
        while True:
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=1),
            ):
                return
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)

    def kill(self) -> None:
        """All of its processes at once."""
        kill(marked(self._mark))
        if self._process:
            self._process.wait()


class Proxy(http.server.ThreadingHTTPServer):
    """Stands before a server and passes requests on.

    Attributes:
        behind: The server's port.
        mode: `well`, `slow` (every request takes five seconds) or `refusing` (every answer is a 500).
        seen: Requests in each mode.
    """

    daemon_threads = True

    def __init__(self, behind: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind, self.mode = behind, "well"
        self.seen: Counter[str] = Counter()


class _Handler(http.server.BaseHTTPRequestHandler):
    def _pass_on(self) -> None:
        proxy = self.server
        assert isinstance(proxy, Proxy)
        mode, body = proxy.mode, self.rfile.read(int(self.headers.get("Content-Length") or 0))
        proxy.seen[mode] += 1
        if mode == "slow":
            time.sleep(SLOW_SECONDS)
        if mode == "refusing":
            self._answer(500, b"the server does not want to", "text/plain")
            return
        there = http.client.HTTPConnection("127.0.0.1", proxy.behind, timeout=30)
        try:
            headers = {name: value for name, value in self.headers.items() if name != "Host"}
            there.request(self.command, self.path, body, headers)
            found = there.getresponse()
            self._answer(found.status, found.read(), found.headers.get("Content-Type", ""))
        except (OSError, http.client.HTTPException):
            self._answer(502, b"nobody is there", "text/plain")
        finally:
            there.close()

    do_GET = do_POST = do_PATCH = do_DELETE = _pass_on  # noqa: N815 - as http.server asks for

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        with contextlib.suppress(OSError):  # the client may have lost its patience
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as http.server calls it
        """Silent."""


@contextlib.contextmanager
def proxy_of(server: Server) -> Iterator[Proxy]:
    """A proxy at work in a thread."""
    with Proxy(server.port) as made:
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        try:
            yield made
        finally:
            made.shutdown()
            thread.join()
