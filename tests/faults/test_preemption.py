"""Packs that give their worker back: to another sweep, to a node that is about to go, at the end of a session."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sweeps.store.paths import SweepPaths
from tests.faults.ray_nodes import TOKEN, head_node, node, trains
from tests.faults.soak import in_soak
from tests.processes import marked
from tests.sweeps.machine import PATIENCE_SECONDS, SMALL, Machine, machine_of

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

ENDLESS = "fixed.epochs=100000"
NODES = """
import ray
ray.init(address={address!r}, log_to_driver=False, logging_level="ERROR")
print(*(node["NodeID"] for node in ray.nodes() if node["NodeManagerAddress"] == {host!r}))
"""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with machine_of(tmp_path / "root", environment=TOKEN) as made:
        yield made


def log_of(machine: Machine, name: str) -> str:
    path = SweepPaths(machine.root, name).log
    return path.read_text() if path.exists() else ""


def running(machine: Machine, name: str) -> int:
    return machine.status(name)["trials"]["running"]


@in_soak  # minutes: four drivers and nodes on two cores
def test_two_sweeps_share_a_cluster_and_an_orderly_end_keeps_what_is_trained(machine: Machine) -> None:
    with head_node() as address, ExitStack() as nodes:
        for host in ("127.0.0.2", "127.0.0.3"):
            nodes.enter_context(node("--address", address, cpus=1, host=host))
        size = ("--lanes", "2", "--address", address)
        endless = machine.sweep("--name", "endless", "--trials", "40", *size, changes=[*SMALL, ENDLESS])
        machine.wait(lambda: machine.started("endless", endless) and running(machine, "endless") == 4, endless)

        short = machine.sweep("--name", "short", "--trials", "4", *size, changes=SMALL)
        done = machine.end(short)
        assert done.code == 0, done.err
        assert {row["state"] for row in machine.rows("short")} == {"finished"}
        assert endless.poll() is None
        assert re.search(r"pack \d+: preempted", log_of(machine, "endless"))

        machine.wait(lambda: running(machine, "endless") == 4, endless)  # the other's share is taken back
        assert re.search(r"trials \d+, \d+ from epoch \d+ on", log_of(machine, "endless"))
        endless.send_signal(signal.SIGTERM)
        done = machine.end(endless)
        assert done.code == 130, done.err
        assert "ending: packs write their checkpoints" in done.err
        assert machine.status("endless")["state"] == "interrupted"
        kept = SweepPaths(machine.root, "endless").checkpoints.glob("*.safetensors")
        assert len([*kept]) >= 4
        assert "Traceback" not in done.err


@in_soak
def test_packs_of_a_node_that_is_about_to_go_go_on_elsewhere_from_where_they_were(machine: Machine) -> None:
    with head_node() as address, ExitStack() as nodes:
        doomed = nodes.enter_context(node("--address", address, cpus=1, host="127.0.0.2"))
        size = ("--trials", "4", "--lanes", "2", "--address", address, "--checkpoint-seconds", "100000")
        driver = machine.sweep("--name", "moves", *size, changes=[*SMALL, "fixed.epochs=500"])
        machine.wait(lambda: machine.started("moves", driver) and running(machine, "moves") > 0, driver)
        epochs = SweepPaths(machine.root, "moves").folder / "epochs"
        machine.wait(lambda: any(epochs.glob("*.parquet")), driver)

        environment = os.environ | TOKEN
        script = NODES.format(address=address, host="127.0.0.2")
        found = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        (identity,) = found.stdout.split()
        ray = Path(sys.executable).with_name("ray")
        reason = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "a test"]
        command = [ray, "drain-node", "--address", address, "--node-id", identity, *reason]
        subprocess.run([*command, "--deadline-remaining-seconds", "600"], env=environment, check=True)

        machine.wait(lambda: not trains(doomed), driver)
        machine.wait(lambda: "waits for the cluster" in driver_notes(machine, "moves"), driver)
        machine.wait(lambda: not any("raylet" in command for command in marked(doomed).values()), driver)
        nodes.enter_context(node("--address", address, cpus=1, host="127.0.0.3"))
        done = machine.end(driver, within_seconds=PATIENCE_SECONDS)
        assert done.code == 0, done.err
        rows = machine.check("moves", 4)
        assert [(row["state"], row["attempt"]) for row in rows] == [("finished", 1)] * 4
        assert re.search(r"trials \d+, \d+ from epoch \d+ on", log_of(machine, "moves"))


def driver_notes(machine: Machine, name: str) -> str:
    """What the sweep says of its waiting, as `sweeps status` shows it."""
    return machine("status", name).err
