"""A machine that is about to go: what Ray is told, how long work is waited for, and the notice to spot instances."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from tests.deploy.machines import METADATA, in_background, machine, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4, "RAY_USAGE_STATS_ENABLED": "0"}
HERE = Path(__file__).parent
ADDRESS = "127.0.0.2:6379"
UNWATCHED = "flock --nonblock ~/.spot.lock true"
"""Succeeds where no watcher runs."""


class Cluster:
    """A head without cores and a worker with one."""

    def __init__(self, checkout: Path, folder: Path, stack: ExitStack) -> None:
        self.bin, self.deploy = checkout / ".venv/bin", checkout / "deploy"
        self.folder, self._stack = folder, stack
        self.head = stack.enter_context(machine(folder, TOKEN))
        self.worker = stack.enter_context(machine(folder, TOKEN, self.head))
        start = f"{self.bin}/ray start --object-store-memory {100 * 2**20}"
        self.head.check(
            f"{start} --head --port 6379 --node-ip-address 127.0.0.2 --num-cpus 0 --include-dashboard false"
        )
        self.worker.check(f"{start} --address {ADDRESS} --node-ip-address 127.0.0.3 --num-cpus 1")

    def drive(self, manner: str) -> None:
        """Starts a driver whose work is on the worker."""
        script = f"exec {self.bin}/python {HERE}/leaving_driver.py {ADDRESS} {self.folder} {manner}"
        driver = self._stack.enter_context(in_background(self.head, script))
        until(
            lambda: (self.folder / "works").exists() or driver.poll() is not None, "the driver has work on the worker"
        )
        assert driver.poll() is None, driver.communicate()[1]

    def read(self, name: str) -> str:
        until(lambda: bool((self.folder / name).exists() and (self.folder / name).read_text()), name)
        return (self.folder / name).read_text()


@pytest.fixture
def cluster(node_checkout: Path, tmp_path: Path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(node_checkout, tmp_path, stack)


def test_work_that_stays_is_waited_for_as_long_as_was_given(cluster: Cluster) -> None:
    cluster.drive("stays")
    done = cluster.worker.run(f"{cluster.deploy}/leave.sh 3")
    assert done.returncode == 1
    assert done.stderr == "leave.sh: after 3 s work is still running here; it is lost with the machine\n"
    assert float(cluster.read("left")) <= 3


def test_a_spot_instance_that_is_reclaimed_leaves_as_soon_as_its_work_was_called_back(cluster: Cluster) -> None:
    cluster.drive("calls-back")
    notice = cluster.folder / "notice"
    server = f"exec {cluster.bin}/python {HERE}/instance_metadata.py {METADATA} {notice}"
    watch = yaml.safe_load((HERE.parents[1] / "cluster.yaml").read_text())["worker_start_ray_commands"][-1]
    with in_background(cluster.head, server) as metadata:
        cluster.worker.check(f"ln -s {cluster.deploy.parent} ~/signed-supermask-sweeps && {watch}")
        assert metadata.stderr
        asked = [metadata.stderr.readline() for _ in range(2)]
        assert ['"PUT /latest/api/token' in asked[0], "instance-action" in asked[1], " 404 " in asked[1]] == [True] * 3
        cluster.worker.check(f"{cluster.deploy}/spot.sh")  # ends at once: one watcher is enough
        assert cluster.worker.run(UNWATCHED).returncode == 1
        end = datetime.now(UTC) + timedelta(minutes=4)
        notice.write_text(found := json.dumps({"action": "terminate", "time": f"{end:%Y-%m-%dT%H:%M:%SZ}"}))
        until(lambda: cluster.worker.run(UNWATCHED).returncode == 0, "the watcher has seen to it that all is left")
    (said,) = cluster.worker.check("cat ~/spot.log").splitlines()
    assert said.endswith(f" spot notice: {found}")
    assert 0 < float(cluster.read("left")) < 236
    assert cluster.read("gone") == "leave.sh: this machine goes"


@pytest.mark.parametrize("words", [[], ["soon"], ["-1"], ["08"]])
def test_no_number_of_seconds(words: list[str]) -> None:
    done = subprocess.run([HERE.parents[1] / "deploy/leave.sh", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "SECONDS must be a whole number" in done.stderr


def test_a_machine_without_ray_has_nothing_to_leave(tmp_path: Path) -> None:
    with machine(tmp_path, {}) as alone:
        done = alone.run(f"{HERE.parents[1]}/deploy/leave.sh 5")
    assert (done.returncode, done.stderr) == (0, "leave.sh: no Ray node runs on this machine, nothing to leave\n")
