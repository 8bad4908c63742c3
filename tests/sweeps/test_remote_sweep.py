"""A whole sweep in an object store: a real server of the S3 protocol, and a machine that is lost."""

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.remote.client import ObjectStore
from sweeps.store.cache import cached_root
from tests.sweeps.machine import SMALL, Machine
from tests.sweeps.s3_server import BUCKET, SECRET, environment, s3_server

URI = f"s3://{BUCKET}/team/sweeps"
SIZE = ("--lanes", "3", "--in-process")
LONG = [change for change in SMALL if "epochs" not in change] + ["fixed.epochs=30"]


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    with s3_server() as started:
        for name, value in environment(started).items():
            monkeypatch.setenv(name, value)
        yield started


def has_finished(machine: Machine, name: str) -> bool:
    """Whether a trial has, as far as the store knows."""
    done = machine("status", name, "--json")
    return done.code == 0 and json.loads(done.out)["trials"]["finished"] > 0


def test_a_sweep_goes_on_from_the_store_alone(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("SWEEPS_CACHE", str(cache))
    machine, store = Machine(cached_root(URI), address=URI), ObjectStore(URI)
    elsewhere = Machine(tmp_path / "other", {"SWEEPS_CACHE": str(tmp_path / "other")}, address=URI)

    driver = machine.sweep("--name", "kept", "--trials", "12", *SIZE, changes=LONG)
    machine.wait(lambda: has_finished(elsewhere, "kept"), driver)
    driver.send_signal(signal.SIGSTOP)  # it lives, and does not come to its end
    refused = elsewhere("resume", "kept", "--in-process")
    driver.send_signal(signal.SIGKILL)
    killed = machine.end(driver)
    assert refused.code == 2
    assert refused.err.startswith("sweep kept: only one process may work on it, but process ")

    shutil.rmtree(cache)
    status = json.loads(machine("status", "kept", "--json").out)
    assert status["state"] == "died"
    assert 0 < status["trials"]["finished"] <= 12  # all, where training is faster than a round of sending
    assert not (machine.root / "kept/masks").exists()  # only what is shown was brought
    resumed = machine("resume", "kept", *SIZE)
    assert resumed.code == 0, resumed.err
    assert f"sweeps ui kept --root {URI}" in resumed.err
    assert f"store:    everything is in {URI}\n" in resumed.err

    shutil.rmtree(cache)
    verified = machine("verify", "kept", "--json")
    assert json.loads(verified.out) == {
        "ok": True, "trials": 12, "mlflow_runs": 12, "finished_twice": [], "differences": [],
    }  # fmt: skip
    assert json.loads(machine("pareto", "kept", "--json").out)
    (listed,) = json.loads(machine("list", "--json").out)
    assert listed["trials"]["finished"] == 12
    machine.clear()
    elsewhere.clear()
    texts = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    texts += [store.read(name) for name in store.files()]
    texts += [done.err.encode() + done.out.encode() for done in (killed, refused, resumed)]
    assert not any(SECRET.encode() in text for text in texts)
