"""Ray on this machine keeps to itself; a cluster of two nodes runs the driver's code, on data that is put once."""

import json
import os
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.processes import kill, marked

pytestmark = pytest.mark.ray

REPOSITORY = Path(__file__).resolve().parents[3]
PATIENCE_SECONDS = 200
MARK = {"SWEEPS_TEST_CLUSTER": uuid.uuid4().hex}
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid.uuid4().hex}
LOOPBACK = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")
"""127.0.0.1, the same as an IPv6 address, and ::1, as /proc/net writes them."""

LOCAL = """
import json, os, sys
from sweeps.driver.cluster import connect

with connect(None, {}):
    import ray
    ray.get(ray.remote(lambda: None).remote())
    print(json.dumps(os.environ["RAY_AUTH_MODE"]), file=sys.__stdout__, flush=True)
    sys.stdin.readline()
"""

DRIVER = """
import json, sys, time
from pathlib import Path

import ray
from rich.console import Console

from search_spaces.load import load
from sweeps.driver.cluster import connect
from sweeps.driver.options import Options
from sweeps.run import run

def where():
    import search_spaces, supermask, sweeps
    return [sweeps.OF_THE_DRIVER, *(package.__path__[0] for package in (search_spaces, supermask, sweeps))]

puts = []
put = ray.put

def counted(value, **options):
    if isinstance(value, dict) and "digits" in value:
        puts.append(sorted(value))
    return put(value, **options)

address, root = sys.argv[1:]
with connect(address, {}):
    while sum(node["Alive"] for node in ray.nodes()) < 2:
        time.sleep(0.1)
    found = ray.get(ray.remote(where).remote())
ray.put = counted
space = load("search_spaces/fcn_digits.yaml", overrides={"fixed.epochs": 1, "fixed.width": 0.3, "budget.trials": 4})
outcome = run(space, Options(root=Path(root), lanes=1, packs=2, address=address), Console(stderr=True))
print(json.dumps({"where": found, "puts": puts, "counts": outcome.counts}))
"""


def listening(process: int) -> set[str]:
    """The addresses that a process listens on, as /proc/net writes them."""
    sockets = set()
    for entry in Path(f"/proc/{process}/fd").iterdir():
        with suppress(OSError):
            sockets.add(str(entry.readlink()))
    rows = [row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


def environment(**changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return kept | MARK | {"CUDA_VISIBLE_DEVICES": "", "PYTHONDONTWRITEBYTECODE": "1"} | changes


@pytest.fixture(autouse=True, scope="module")
def nothing_left() -> Iterator[None]:
    yield
    kill(marked(MARK))


def start(*options: str, host: str) -> None:
    """A node, with no project on its path and in a folder with another one of the same names."""
    command = [str(Path(sys.executable).with_name("ray")), "start", *options, "--node-ip-address", host]
    command += ["--object-store-memory", str(128 * 2**20), "--disable-usage-stats"]
    without = {"PYTHONPATH": ""}
    done = subprocess.run(command, env=environment(**TOKEN, **without), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def cluster() -> str:
    """A head without cores and a node of two."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    start("--head", "--port", address.split(":")[1], "--num-cpus=0", "--include-dashboard=false", host="127.0.0.1")
    start("--address", address, "--num-cpus=2", host="127.0.0.2")
    return address


def drive(script: str, *arguments: str, folder: Path, path: Path, **changes: str) -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    changes = {"PYTHONPATH": str(path), "SWEEPS_CACHE": str(folder), **changes}
    return subprocess.Popen(
        [sys.executable, "-P", "-c", script, *arguments],
        cwd=folder, env=environment(**changes), stdin=pipe, stdout=pipe, stderr=pipe, text=True,
    )  # fmt: skip


def copy(folder: Path, line: str) -> Path:
    """This project with one line more."""
    for name in ("search_spaces", "supermask", "sweeps"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "sweeps/__init__.py").open("a") as file:
        file.write(f"{line}\n")
    return folder


def test_on_this_machine_nobody_else_has_the_token_and_nothing_listens_beyond_loopback(tmp_path: Path) -> None:
    process = drive(LOCAL, folder=tmp_path, path=REPOSITORY, HOME=str(tmp_path))
    assert process.stdout
    assert json.loads(process.stdout.readline() or "null") == "token"
    found = {address for number in marked(MARK) for address in listening(number)}
    _, err = process.communicate("\n", timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, err
    assert found
    assert found <= set(LOOPBACK)
    assert (tmp_path / ".ray/auth_token").stat().st_mode & 0o777 == 0o600


def test_workers_run_the_drivers_code_and_the_data_is_put_once(cluster: str, tmp_path: Path) -> None:
    own = copy(tmp_path / "own", "OF_THE_DRIVER = True")
    # The driver stands in a folder with other code. Ray would put it first on the path of workers on all nodes.
    elsewhere = copy(tmp_path / "elsewhere", "OF_THE_DRIVER = False")
    only_the_token = {"RAY_AUTH_TOKEN": TOKEN["RAY_AUTH_TOKEN"]}
    process = drive(DRIVER, cluster, str(tmp_path / "root"), folder=elsewhere, path=own, **only_the_token)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, err
    found = json.loads(out)
    marked, *places = found["where"]
    assert marked is True
    assert {Path(place).parent.parent.name for place in places} == {"working_dir_files"}
    assert len({Path(place).parent for place in places}) == 1
    assert found["puts"] == [["digits"]]
    assert found["counts"]["finished"] == 4


class Doctor:
    """`sweeps doctor` against an address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, address: str, *, before: str = "", **changes: str) -> dict[str, dict[str, Any]]:
        script = f"{before}\nfrom sweeps.__main__ import main\nmain()"
        process = drive(
            script, "doctor", "--json", "--address", address, folder=self._folder, path=REPOSITORY, **changes
        )
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
        rows = {row["check"]: row for row in json.loads(out)}
        assert process.returncode == any(row["state"] == "fault" for row in rows.values()), err
        return rows


@pytest.fixture
def doctor(tmp_path: Path) -> Doctor:
    return Doctor(tmp_path)


def test_the_doctor_of_a_cluster_in_order(cluster: str, doctor: Doctor) -> None:
    rows = doctor(cluster, **TOKEN)
    assert {name: rows[name]["state"] for name in ("ray", "token", "nodes", "clock")} == {
        "ray": "ok", "token": "ok", "nodes": "ok", "clock": "ok",
    }  # fmt: skip
    assert rows["ray"]["found"].endswith(f" at {cluster}: 2 cores, 0 GPUs on 2 nodes")
    assert rows["nodes"]["found"].startswith("127.0.0.2, ")
    assert rows["nodes"]["found"].endswith(": same packages as here")


@pytest.mark.parametrize(
    ("changes", "before", "expected"),
    [
        # Ray says nothing of the token, so the remedy does; it would try for 20 s.
        (
            {**TOKEN, "RAY_AUTH_TOKEN": "of-another", "RAY_NUM_REDIS_GET_RETRIES": "2"},
            "",
            "Check the address, and the token",
        ),
        (TOKEN, "import ray; ray.__version__ = '2.59.0'", "2.59.0"),
    ],
)
def test_the_doctor_of_a_cluster_that_does_not_let_us_in(
    cluster: str, doctor: Doctor, changes: dict[str, str], before: str, expected: str
) -> None:
    row = doctor(cluster, before=before, **changes)["ray"]
    assert row["state"] == "fault"
    assert row["found"].startswith(f"ray {cluster}: must be reachable, but ")
    assert expected in f"{row['found']}. {row['remedy']}"


def test_the_doctor_of_an_address_where_nobody_is(doctor: Doctor) -> None:
    row = doctor("127.0.0.1:9", **TOKEN)["ray"]
    assert row["state"] == "fault"
    assert row["found"] == "ray 127.0.0.1:9: must be reachable, but [Errno 111] Connection refused"
    assert row["remedy"].endswith("ray status --address ADDRESS.")
