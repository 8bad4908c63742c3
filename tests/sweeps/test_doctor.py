"""The doctor: each fault made real, and what it says to do about it."""

import http.server
import json
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from sweeps import doctor
from sweeps.driver.cluster import Node

CHECKS = {"python", "packages", "cpu", "gpu", "compiler", "data", "root", "study", "mlflow", "ray"}
VERSIONS = {"python": "3.11.7", "ray": "2.60.0"}


class Seen(NamedTuple):
    """What the doctor said."""

    code: int
    rows: dict[str, dict[str, str]]

    def text(self, check: str) -> str:
        """State, finding and remedy of one check."""
        row = self.rows[check]
        return f"{row['state']}: {row['found']}. {row['remedy']}".strip()


@pytest.fixture
def see(sweeps: Any) -> Any:
    def run(*arguments: str) -> Seen:
        done = sweeps("doctor", "--json", *arguments)
        return Seen(done.code, {row["check"]: row for row in json.loads(done.out)})

    return run


class _Server(http.server.BaseHTTPRequestHandler):
    """An MLflow server of another age, as far as the doctor asks."""

    def do_GET(self) -> None:
        self._answer(b"2.9.0")

    def do_POST(self) -> None:
        self._answer(b'{"experiments": []}')

    def _answer(self, text: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as it is called there
        """Says nothing."""


@pytest.fixture
def old_server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def distribution(folder: Path, name: str, *lines: str) -> None:
    """Installs nothing but a package's own description."""
    place = folder / f"{name}-0.1.dist-info"
    place.mkdir()
    (place / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", f"Name: {name}", *lines]) + "\n")


def test_a_machine_in_order_has_one_line_a_check_and_leaves_no_file(sweeps: Any, tmp_path: Path) -> None:
    (tmp_path / "data/MNIST/raw").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    done = sweeps("doctor", "--data", str(tmp_path / "data"), "--root", str(tmp_path / "new/root"))
    assert done.code == 0
    lines = [line.split(maxsplit=2) for line in done.out.splitlines()]
    assert {check for _, check, _ in lines} == CHECKS
    assert {state for state, check, _ in lines if check != "compiler"} == {"ok"}
    assert sorted(tmp_path.rglob("*")) == before


def test_a_root_that_cannot_be_written(see: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    seen = see("--root", str(tmp_path / "file/root"))
    assert seen.code == 1
    assert seen.text("root") == (
        f"fault: {tmp_path}/file/root cannot be written: Not a directory. "
        "Choose another folder with --root DIR, or get the right to write there."
    )
    assert "study" not in seen.rows


@pytest.mark.parametrize(("free", "state"), [(10 * 2**30, "ok"), (2**30, "warning"), (2**20, "fault")])
def test_a_root_with_little_space(
    see: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    seen = see("--root", str(tmp_path))
    assert seen.rows["root"]["state"] == state
    assert seen.code == (state == "fault")
    if state != "ok":
        assert seen.text("root").endswith("GiB free. Free some space, or choose another --root DIR.")


def test_an_mlflow_server_that_is_dead(see: Any) -> None:
    seen = see("--tracking-uri", "http://me:secret@127.0.0.1:9")
    assert seen.code == 1
    assert seen.text("mlflow").startswith("fault: request to MLflow at http://***@127.0.0.1:9 failed: ")
    assert seen.text("mlflow").endswith("Check the address and try again.")
    assert "secret" not in str(seen.rows)


def test_an_mlflow_database_of_another_schema(see: Any, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database, database:
        database.execute("create table alembic_version (version_num text)")
        database.execute("insert into alembic_version values ('of-another-time')")
        database.execute("create table experiments (experiment_id integer)")
    seen = see("--root", str(tmp_path))
    assert seen.code == 1
    assert seen.text("mlflow").startswith(f"fault: request to MLflow at sqlite:///{tmp_path}/mlflow.db failed: ")


def test_an_mlflow_server_of_another_version(see: Any, old_server: str) -> None:
    seen = see("--tracking-uri", old_server)
    assert seen.code == 0
    assert seen.text("mlflow").startswith(f"warning: {old_server} has version 2.9.0, this process 3.")
    assert "Give server and driver the same version: pip install 'mlflow==3." in seen.text("mlflow")


def test_a_database_that_is_dead(see: Any) -> None:
    seen = see("--storage", "postgresql://me@127.0.0.1:9/sweeps")
    assert seen.code == 1
    assert seen.text("study").startswith("fault: --storage: must be a database that answers, but ")
    assert seen.text("study").endswith("Check the server and who may use it.")


def test_data_that_is_missing(see: Any, tmp_path: Path) -> None:
    seen = see("--data", str(tmp_path / "nowhere"))
    assert seen.code == 1
    assert seen.text("data") == (
        f"fault: no folder {tmp_path}/nowhere; only digits can be trained. "
        "Name the folder (--data DIR or SUPERMASK_DATA), or allow the download: sweeps run SPACE --download."
    )
    assert see("--data", str(tmp_path)).text("data").startswith(f"fault: no dataset in {tmp_path}; ")


def test_data_in_the_folder_that_nobody_named_is_no_fault(see: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supermask.data.DEFAULT_ROOT", Path("/nowhere"))
    assert see().text("data").startswith("warning: no folder /nowhere; only digits can be trained. ")


def test_no_compiler(see: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    seen = see()
    assert seen.text("compiler") == (
        "warning: no C++ compiler: nothing is compiled, training takes longer. Install g++, or name a compiler in CXX."
    )
    assert seen.code == 0


def test_python_and_packages_that_do_not_fit(see: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = ["Requires-Python: >=3.99", "Requires-Dist: absent>=2", "Requires-Dist: optuna<6,>=5"]
    extra = "Requires-Dist: also-absent ; extra == 'onnx'"
    distribution(tmp_path, "signed_supermask_sweeps", "Version: 0.1", *needs, extra)
    distribution(tmp_path, "optuna", "Version: 4.0")
    monkeypatch.syspath_prepend(tmp_path)
    found = [(finding.check, finding.state, finding.found, finding.remedy) for finding in doctor.python_and_packages()]
    assert found[0][:2] == ("python", "fault")
    assert found[0][2].endswith("is outside of >=3.99")
    assert found[1:] == [
        ("packages", "fault", "absent is not installed", "Install it: pip install 'absent>=2'."),
        ("packages", "fault", "optuna 4.0 is outside of <6,>=5", "Install it: pip install 'optuna<6,>=5'."),
    ]


@pytest.mark.parametrize(
    ("versions", "state", "found"),
    [
        (VERSIONS, "ok", "node-1, node-2: same packages as here"),
        ({**VERSIONS, "ray": "2.59.0"}, "warning", "node-2 has ray 2.59.0, the driver 2.60.0"),
        ({"python": "3.11.7"}, "fault", "node-2 has ray not installed, the driver 2.60.0"),
    ],
)
def test_packages_of_the_nodes(versions: dict[str, str], state: str, found: str) -> None:
    nodes = [Node("node-1", VERSIONS, True, 0.0), Node("node-2", versions, True, 0.0)]
    seen = doctor.installed(nodes, VERSIONS)
    assert (seen.state, seen.found) == (state, found)
    assert seen.remedy == ("" if state == "ok" else "Install the same everywhere: pip install -c constraints.txt .")


@pytest.mark.parametrize(
    ("skew", "state", "found"),
    [
        (0.0004, "ok", "nodes differ from the driver by at most 1 ms"),
        (-1.99, "ok", "nodes differ from the driver by at most 1990 ms"),
        (-2.0, "warning", "node-2 is 2.0 s behind the driver"),
        (45.0, "fault", "node-2 is 45.0 s ahead of the driver"),
    ],
)
def test_clocks_of_the_nodes(skew: float, state: str, found: str) -> None:
    seen = doctor.clocks([Node("node-1", VERSIONS, True, 0.0), Node("node-2", VERSIONS, True, skew)])
    assert (seen.state, seen.found) == (state, found)
    assert seen.remedy == ("" if state == "ok" else "Run an NTP client, e.g. chrony, on every node.")


def test_one_node_without_token_is_a_warning() -> None:
    seen = doctor.tokens([Node("node-1", VERSIONS, True, 0.0), Node("node-2", VERSIONS, False, 0.0)])
    assert (seen.state, seen.found) == ("warning", "whoever reaches the cluster's ports can run code on it")
    assert seen.remedy == (
        "Start every node and driver with RAY_AUTH_MODE=token; ray get-auth-token --generate makes a token."
    )


def test_a_head_that_lacks_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    requires = {
        doctor.DISTRIBUTION: [
            "numpy",
            'ray[default]; extra == "cluster"',
            'boto3>=1; extra == "cluster"',
            'x; extra == "dev"',
        ],
        "ray": ["click", 'colorful; extra == "default"', 'aiohttp; extra == "default"'],
    }
    there = {"numpy", "ray", "aiohttp"}
    monkeypatch.setattr(doctor.metadata, "requires", requires.get)
    monkeypatch.setattr(doctor, "_is_installed", there.__contains__)
    found = doctor.head()
    assert found.state == "warning"
    assert found.found.startswith(
        "boto3, colorful: not installed; without them Ray serves neither jobs nor health checks"
    )
    assert found.remedy == "Run: make .venv/.installed-cluster."
    there |= {"boto3", "colorful"}
    assert doctor.head().state == "ok"
