"""The driver's books with a real study and real Parquet files; only MLflow is a stand-in."""

import json
import os
import socket
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sweeps import results
from sweeps.store.lease import read_session
from tests.sweeps.books import Driver, ended, epoch, finish, report


def test_a_pack_from_start_to_end(driver: Driver) -> None:
    order = driver.start()
    assert driver.session.counts == {
        "asked": 3, "finished": 0, "stopped": 0, "failed": 0, "running": 3, "waiting": 0,
    }  # fmt: skip
    finish(driver, order)
    assert driver.session.counts["finished"] == 3
    assert driver.session.counts["running"] == 0
    rows = driver.rows()
    assert [(row["trial"], row["lane"], row["pack"], row["attempt"]) for row in rows] == [
        (0, 0, 0, 1), (1, 1, 0, 1), (2, 2, 0, 1),
    ]  # fmt: skip
    for row, lane in zip(rows, order.lanes, strict=True):
        assert {name: row[name] for name in lane.config.to_dict()} == lane.config.to_dict()
        assert [row[name] for name in ("host", "device", "dtype")] == ["node7", "cpu", "float32"]
        assert (row["commit"], row["test_accuracy"], row["epochs_done"], row["seconds"]) == ("abc", 0.75, 2, 1.5)
        assert row["started"] <= row["ended"]
    assert results.load_epochs(driver.paths.root, "small").num_rows == 6
    assert driver.states() == ["finished"] * 3
    kinds = [kind for kind, _ in driver.mirror.calls if kind != "parts"]
    assert kinds == ["started", "front"]
    assert ("parts", []) in driver.mirror.calls
    assert driver.mirror.numbers("front") == [0]
    assert driver.recorder.archive.front == {0: (1,)}  # the others are as good
    assert driver.recorder.archive.leaders.column("trial").to_pylist() == [0]
    begun = results.load(driver.paths.root, "small", running=True)
    assert begun.column("state").to_pylist() == ["finished"] * 3


def test_a_diverged_lane_is_a_failed_trial_and_its_neighbours_go_on(driver: Driver) -> None:
    order = driver.start()
    fault = "diverged: train_loss is nan after epoch 1"
    driver.session.report(report(order, ended=[ended(order, 1, "failed", fault)]))
    assert driver.session.counts["running"] == 2
    assert driver.session.reasons == {"diverged": 1}
    driver.session.report(report(order, ended=[ended(order, 0), ended(order, 2)]))
    driver.session.close_pack(order.number, "unused")
    assert [(row["state"], row["reason"]) for row in driver.rows()] == [
        ("finished", None), ("failed", fault), ("finished", None),
    ]  # fmt: skip
    assert driver.states() == ["finished", "failed", "finished"]
    assert driver.queue.waiting == 0


def test_reports_of_unknown_packs_and_of_lanes_that_have_ended_change_nothing(driver: Driver) -> None:
    order = driver.start()
    driver.session.report(report(order, ended=[ended(order, 0)]))
    again = report(order, ended=[ended(order, 0, "failed", "late")], epochs=[epoch(order, 0, 3)])
    driver.session.report(again)
    driver.session.report(replace(again, pack=99))
    driver.close("finished")
    assert [row["state"] for row in driver.rows()] == ["finished"]
    assert driver.session.counts["finished"] == 1
    assert results.load_epochs(driver.paths.root, "small").num_rows == 0


def test_epochs_are_written_now_and_then_without_an_ended_trial(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = driver.start()
    driver.recorder.wait()
    monkeypatch.setattr("sweeps.driver.recorder.FLUSH_SECONDS", 0.0)
    driver.session.report(report(order, epochs=[epoch(order, 0, 1)]))
    until = time.monotonic() + 20
    while not results.load_epochs(driver.paths.root, "small").num_rows:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_the_session_file_says_who_works_and_how_far(driver: Driver) -> None:
    driver.start()
    driver.lease.tell(driver.session.describe)
    document = json.loads(driver.paths.session.read_text())
    assert document.pop("seconds") >= 100
    since, updated = (datetime.fromisoformat(document.pop(name)) for name in ("since", "updated"))
    assert since <= updated
    assert timedelta(0) <= datetime.now(UTC) - updated < timedelta(minutes=1)
    del document["place"], document["born"]
    assert document == {
        "name": "small",
        "state": "running",
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "notes": [],
        "trials": {"asked": 3, "finished": 0, "stopped": 0, "failed": 0, "running": 3, "waiting": 0},
    }
    assert read_session(driver.paths)["state"] == "running"
    driver.close("failed")
    assert read_session(driver.paths)["state"] == "running"  # it has a report to write, and a mirror to end
    driver.lease.end("failed")
    found = read_session(driver.paths)
    assert found["state"] == "failed"
    assert list(driver.paths.folder.glob(".tmp-*")) == []
