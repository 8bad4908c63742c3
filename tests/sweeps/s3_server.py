"""A real server of the S3 protocol on a free port of the loopback interface."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

SECRET = "kept-in-the-environment-only"  # noqa: S105 - of a server that takes any
BUCKET = "bucket"


def environment(port: int) -> dict[str, str]:
    """Where the server is and who asks, as every client of S3 reads them."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "tester",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextmanager
def s3_server(*, denies: bool = False, ignores_conditions: bool = False) -> Iterator[int]:
    """A running server with an empty bucket; gives its port.

    `denies`: it knows nobody's credentials. `ignores_conditions`: it writes whatever a write says must hold.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.sweeps.s3_server", str(port), str(ignores_conditions)]
    variables = os.environ | environment(port)
    if denies:
        variables["INITIAL_NO_AUTH_ACTION_COUNT"] = "1"  # which makes the bucket
    with tempfile.TemporaryDirectory(prefix="s3-") as folder, (Path(folder) / "log").open("wb") as log:
        root = Path(__file__).parents[2]
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=root, env=variables)
        try:
            until = time.monotonic() + 60
            while not _listens(port):
                assert process.poll() is None, (Path(folder) / "log").read_text()
                assert time.monotonic() < until, (Path(folder) / "log").read_text()
                time.sleep(0.1)
            made = urllib.request.Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT")
            urllib.request.urlopen(made, timeout=30).close()  # noqa: S310 - the server above
            yield port
        finally:
            process.kill()
            process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _serve(port: int, *, ignores_conditions: bool) -> None:
    """Serves moto one request at a time: it looks whether an object exists and writes it in two steps."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import run_simple

    moto, lock = DomainDispatcherApplication(create_backend_app), Lock()

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        if ignores_conditions:
            environ = {name: value for name, value in environ.items() if name not in _CONDITIONS}
        with lock:
            return moto(environ, start_response)

    run_simple("127.0.0.1", port, answer, threaded=True)


_CONDITIONS = ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH")

if __name__ == "__main__":
    _serve(int(sys.argv[1]), ignores_conditions=sys.argv[2] == "True")
