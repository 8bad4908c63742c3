"""A real PostgreSQL server of a test's own, on a free port of the loopback interface."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

PASSWORD = "kept-in-the-environment"  # noqa: S105 - of a server that lives as long as the tests
PROGRAMS = ("initdb", "pg_ctl", "postgres")
DEBIAN = Path("/usr/lib/postgresql")
"""Debian keeps the server's programs here, a folder for each version, and off the PATH."""


def find(program: str) -> str | None:
    """A program of PostgreSQL: on the PATH, else the newest that Debian has."""
    versions = sorted(DEBIAN.glob("*/bin"), key=lambda folder: float(folder.parent.name), reverse=True)
    return shutil.which(program, path=os.pathsep.join([os.environ["PATH"], *map(str, versions)]))


class PostgresServer:
    """A server with the user `keeper`.

    Attributes:
        url: Of a database for studies.
        other: Of a database for another program.
        folder: Where its socket is.
        environment: What libpq needs to reach it as `keeper`, beside the address.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url, self.other = (f"postgresql://keeper@127.0.0.1:{self.port}/{name}" for name in ("sweeps", "other"))
        self.environment = {
            "PGHOST": str(folder), "PGPORT": str(self.port), "PGUSER": "keeper", "PGPASSWORD": PASSWORD,
        }  # fmt: skip
        password = folder / "password"
        password.write_text(PASSWORD)
        self._run("initdb", "--no-sync", "-A", "scram-sha-256", "-U", "keeper", f"--pwfile={password}")
        self.start()
        with psycopg.connect(
            self.url.replace("/sweeps", "/postgres"), password=PASSWORD, autocommit=True
        ) as connection:
            for name in ("sweeps", "other"):
                connection.execute(f"CREATE DATABASE {name}")

    def start(self) -> None:
        """Starts it and waits until it answers."""
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -c fsync=off -k {self.folder}"
        self._run("pg_ctl", "start", "-w", "-l", str(self.folder / "log"), "-o", options)

    def stop(self) -> None:
        """Kills it as a machine that vanishes does: no client hears of it before."""
        if (self.folder / "data/postmaster.pid").exists():
            self._run("pg_ctl", "stop", "-m", "immediate")

    def _run(self, program: str, *arguments: str) -> None:
        # PostgreSQL refuses to run as root.
        nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.getuid() == 0 else []
        found = find(program)
        assert found, program
        command = [*nobody, found, "-D", str(self.folder / "data"), *arguments]
        done = subprocess.run(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        assert done.returncode == 0, done.stdout.decode()


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A running server; skips where PostgreSQL is not installed."""
    missing = [program for program in PROGRAMS if not find(program)]
    if missing:
        pytest.skip(f"PostgreSQL's server is not installed here: no {', '.join(missing)} on the PATH or in {DEBIAN}")
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        if os.getuid() == 0:
            shutil.chown(folder, "nobody", "nogroup")
        server = PostgresServer(Path(folder))
        try:
            yield server
        finally:
            server.stop()
