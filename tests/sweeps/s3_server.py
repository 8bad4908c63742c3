"""A real server of the S3 protocol on a free port of the loopback interface."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyarrow import fs

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
def s3_server() -> Iterator[int]:
    """A running server with an empty bucket; gives its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with tempfile.TemporaryDirectory(prefix="s3-") as folder, (Path(folder) / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=os.environ | environment(port))
        try:
            until = time.monotonic() + 60
            while not _listens(port):
                assert process.poll() is None, (Path(folder) / "log").read_text()
                assert time.monotonic() < until, (Path(folder) / "log").read_text()
                time.sleep(0.1)
            client = fs.S3FileSystem(
                endpoint_override=f"http://127.0.0.1:{port}",
                access_key="tester",
                secret_key=SECRET,
                region="us-east-1",
                allow_bucket_creation=True,
            )
            client.create_dir(BUCKET)
            yield port
        finally:
            process.kill()
            process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
