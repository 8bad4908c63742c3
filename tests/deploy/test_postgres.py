"""A head's databases as deploy/head.sh sets them up, and a sweep from a node's environment that outlives their loss."""

import os
import pwd
import shutil
import signal
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from sweeps.store.paths import SweepPaths
from tests.faults.soak import in_soak
from tests.processes import kill, marked
from tests.sweeps.machine import PATIENCE_SECONDS, SMALL, Machine
from tests.sweeps.mlflow_server import answers, free_port
from tests.sweeps.postgres_server import PASSWORD, PostgresServer, postgres_server

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

SCRIPT = Path("deploy/head.sh")
SOCKET, PORT = "/var/run/postgresql", "port=5000"
"""What the script says of a head, and a test replaces: other tests and services of the machine may have those."""
TRIALS = 24


def head_script(checkout: Path, folder: Path, database: PostgresServer, port: int) -> Path:
    """The script beside a node's environment, for a server of PostgreSQL and a port of the test's own."""
    text = (checkout / SCRIPT).read_text()
    for place, own in ((SOCKET, str(database.folder)), (PORT, f"port={port}")):
        assert text.count(place) == 1
        text = text.replace(place, own)
    script = folder / SCRIPT
    for made in (script.parent, folder / "bin"):
        made.mkdir(parents=True)
    script.write_text(text)
    script.chmod(0o755)
    (folder / ".venv").symlink_to(checkout / ".venv")
    sudo = folder / "bin/sudo"  # `sudo -u postgres psql ...`: its server has another administrator
    sudo.write_text('#!/bin/sh\nshift 2\nexec "$@" --dbname postgres\n')
    sudo.chmod(0o755)
    return script


@contextmanager
def head(checkout: Path, folder: Path, database: PostgresServer) -> Iterator[str]:
    """MLflow's server of a head that the script has set up, which finds nothing to do a second time."""
    port, mark = free_port(), {"SWEEPS_TEST_HEAD": uuid.uuid4().hex}
    script, log = head_script(checkout, folder, database, port), folder / "mlflow.log"
    environment = os.environ | database.environment | mark
    environment |= {"HOME": str(folder), "PATH": f"{folder}/bin:{os.environ['PATH']}"}

    def set_up() -> None:
        done = subprocess.run(
            [script, folder / "files"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=PATIENCE_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout

    try:
        set_up()
        until = time.monotonic() + PATIENCE_SECONDS
        while not answers(port):
            assert marked(mark), log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        servers = {pid for pid, command in marked(mark).items() if "mlflow server" in command}
        set_up()
        assert {pid for pid, command in marked(mark).items() if "mlflow server" in command} == servers
        yield f"http://127.0.0.1:{port}"
    finally:
        kill(marked(mark))


@in_soak
def test_a_sweep_outlives_its_databases_and_its_driver(node_checkout: Path, tmp_path: Path) -> None:
    """The server vanishes and comes back in the middle, then the driver is killed, then the sweep is resumed."""
    if not shutil.which("psql") or not shutil.which("curl"):
        pytest.skip("deploy/head.sh needs psql and curl: apt-get install postgresql-client curl")
    with postgres_server() as database, head(node_checkout, tmp_path, database) as uri:
        machine = Machine(tmp_path / "root", database.environment, checkout=node_checkout)
        paths = SweepPaths(machine.root, "kept")
        storage = f"postgresql:///sweeps?host={database.folder}"

        def running() -> int:
            return machine.status("kept")["trials"]["running"] if paths.trials.exists() else 0

        options = ["--name", "kept", "--lanes", "3", "--packs", "2", "--tracking-uri", uri]
        size = ["--trials", str(TRIALS), "--storage", storage]
        try:
            driver = machine.sweep(*options, *size, changes=[*SMALL, "fixed.epochs=20"])
            machine.wait(lambda: running() > 0, driver)
            database.stop()
            machine.wait(lambda: running() == 0, driver)  # what trains goes on to its end; nothing more can be asked
            kept = machine.rows("kept")
            assert 0 < len(kept) < TRIALS
            database.start()
            machine.wait(lambda: len(machine.rows("kept")) > len(kept), driver)
            driver.send_signal(signal.SIGKILL)
            killed = machine.end(driver)
            assert len(machine.rows("kept")) < TRIALS
            resumed = machine("resume", *options[1:])
            assert resumed.code == 0, resumed.err
            rows = machine.check("kept", TRIALS, uri=uri)
        finally:
            kill(machine.processes())  # agents of Ray outlive a killed driver by a minute, see faults/test_driver.py
        assert Counter(row["state"] for row in rows) == {"finished": TRIALS}
        assert rows[: len(kept)] == kept
        with psycopg.connect(database.url, password=PASSWORD) as connection:
            stored = connection.execute("SELECT number, state FROM trials ORDER BY number").fetchall()
            owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'mlflow'"
            assert connection.execute(owner).fetchone() == (pwd.getpwuid(os.getuid()).pw_name,)
        assert stored == [(number, "COMPLETE") for number in range(TRIALS)]
    assert paths.study_url.read_text() == f"{storage}\n"
    assert not paths.journal.exists()
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    written += [text.encode() for done in (killed, resumed) for text in (done.out, done.err)]
    assert not any(PASSWORD.encode() in text for text in written)
