"""A whole sweep on one PostgreSQL server, which keeps its study and stands behind a real MLflow server."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from sweeps.paths import SweepPaths
from tests.processes import kill
from tests.sweeps.machine import SMALL, Machine
from tests.sweeps.mlflow_server import answers
from tests.sweeps.postgres_server import PASSWORD, PostgresServer, postgres_server

pytestmark = pytest.mark.ray

ENVIRONMENT = {"PGPASSWORD": PASSWORD}
LONG = [change for change in SMALL if "epochs" not in change] + ["fixed.epochs=8"]
SQLALCHEMY = "postgresql+psycopg"


@contextmanager
def mlflow_server(database: PostgresServer, folder: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    store = database.other.replace("postgresql", SQLALCHEMY, 1)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store, "--workers", "1"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--default-artifact-root", (folder / "files").as_uri()]
    with (folder / "mlflow.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, env={**os.environ, **ENVIRONMENT}, start_new_session=True
        )
    try:
        until = time.monotonic() + 90
        while not answers(port):
            assert process.poll() is None, (folder / "mlflow.log").read_text()
            assert time.monotonic() < until, (folder / "mlflow.log").read_text()
            time.sleep(0.2)
        yield uri
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def test_a_sweep_outlives_its_database_and_its_driver(tmp_path: Path) -> None:
    """The server vanishes and comes back in the middle, then the driver is killed, then the sweep is resumed."""
    machine = Machine(tmp_path / "root", ENVIRONMENT)
    paths = SweepPaths(machine.root, "kept")
    with postgres_server() as database, mlflow_server(database, tmp_path) as uri:

        def ended() -> int:
            return len(machine.rows("kept")) if paths.trials.exists() else 0

        options = ["--name", "kept", "--trials", "24", "--lanes", "3", "--tracking-uri", uri]
        driver = machine.sweep(*options, "--storage", database.url, changes=LONG)
        machine.wait(lambda: paths.trials.exists() and machine.status("kept")["trials"]["running"] == 6, driver)
        database.stop()
        machine.wait(lambda: ended() == 6, driver)  # and nothing more can be asked
        database.start()
        machine.wait(lambda: ended() > 6, driver)
        driver.send_signal(signal.SIGKILL)
        killed = machine.end(driver)
        assert ended() < 24
        resumed = machine("resume", "kept", "--lanes", "3", "--tracking-uri", uri)
        assert resumed.code == 0, resumed.err
        verified = machine("verify", "kept", "--tracking-uri", uri, "--json")
        assert json.loads(verified.out) == {
            "ok": True, "trials": 24, "mlflow_runs": 24, "finished_twice": [], "differences": [],
        }  # fmt: skip
        assert Counter(row["state"] for row in machine.rows("kept")) == {"finished": 24}
        with psycopg.connect(database.url, password=PASSWORD) as connection:
            stored = connection.execute("SELECT number, state FROM trials ORDER BY number").fetchall()
        assert stored == [(number, "COMPLETE") for number in range(24)]
    kill(machine.processes())  # agents of Ray outlive a killed driver by a minute, see test_sweep.py
    assert paths.study_url.read_text() == f"{database.url}\n"
    assert not paths.journal.exists()
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    written += [killed.err.encode(), resumed.out.encode(), resumed.err.encode()]
    assert not any(PASSWORD.encode() in text for text in written)
