"""The driver's books with a real study and real Parquet files; only MLflow is a stand-in."""

import errno
import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from search_spaces.space import SearchSpace
from sweeps import results
from sweeps.errors import SweepError
from sweeps.packs.checkpoints import Reached
from sweeps.packs.keeping import MaskStore
from sweeps.paths import SweepPaths
from sweeps.queue import Lane, PackOrder, TrialQueue
from sweeps.results import ResultsWriter
from sweeps.session import BREAKS, Session
from sweeps.sessions.heartbeat import read_session
from sweeps.sessions.leaders import Leaders
from sweeps.storage import lease
from sweeps.study import SweepStudy

PLACE = {"host": "node7", "device": "cpu", "dtype": "float32"}
BEGAN = datetime(2026, 5, 4, 12, tzinfo=UTC)
FINAL = {"train_loss": 0.3, "val_loss": 0.4, "val_accuracy": 0.8, "remaining": 0.2, "inverted": 0.1}
Row = dict[str, Any]


@dataclass
class Driver:
    """One session over a folder, as `sweeps.run` puts it together."""

    paths: SweepPaths
    space: SearchSpace
    mirror: Any
    keeper: Any

    def __post_init__(self) -> None:
        self.study = SweepStudy(self.space, self.paths.journal)
        self.queue = TrialQueue(self.study, trials=self.space.trials, lanes=3)
        self.session = Session(
            self.paths,
            self.queue,
            self.study,
            ResultsWriter(self.paths.folder),
            self.mirror,
            lease=lease.take(self.paths.sessions, what="sweep small"),
            masks=MaskStore(self.paths, self.space, []),
            states=self.keeper,
            leaders=Leaders(self.space.objectives),
            commit="abc",
            ended={"finished": 0},
            seconds=100.0,
        )

    def start(self) -> PackOrder:
        """Hands a pack out."""
        order = self.queue.next_pack()
        assert order is not None
        self.session.start(order)
        return order

    def rows(self) -> list[Row]:
        """What is in Parquet when all that was reported has been dealt with."""
        self.session.recorder.wait()
        return self.written()

    def written(self) -> list[Row]:
        """What is in Parquet now."""
        return results.load(self.paths.root, self.paths.name, every_attempt=True).to_pylist()

    def states(self) -> list[str]:
        """How the study says the trials ended, read from its file."""
        self.session.recorder.wait()
        return [trial.state for trial in SweepStudy(self.space, self.paths.journal).trials()]


@pytest.fixture
def driver(tmp_path: Path, small_space: Callable[..., SearchSpace], mirror: Any, states: Any) -> Iterator[Driver]:
    paths = SweepPaths(tmp_path, "small")
    paths.folder.mkdir()
    found = Driver(paths, small_space(), mirror, states)
    yield found
    found.session.recorder.stop()


def report(order: PackOrder, *, epochs: Iterable[Row] = (), **parts: list[Row]) -> Row:
    table = results.epochs_table(epochs)
    return {
        "pack": order.number,
        "started": [],
        "epochs": table,
        "trials": table.column("trial").to_pylist(),
        "epoch": max(table.column("epoch").to_pylist(), default=0),
        "ended": [],
        "paused": [],
        "keeps": False,
        "unkept": None,
        "error": None,
        "out_of_memory": False,
    } | parts


def epoch(order: PackOrder, lane: int, number: int) -> Row:
    found = order.lanes[lane]
    return {"trial": found.trial, "attempt": found.attempt, "epoch": number, **FINAL, "seconds": 0.5}


def ended(order: PackOrder, lane: int, state: str = "finished", reason: str | None = None) -> Row:
    found = order.lanes[lane]
    test = {"test_loss": 0.5, "test_accuracy": 0.75, "ended": datetime.now(UTC), "seconds": 1.5}
    return {"trial": found.trial, "attempt": found.attempt, "state": state, "reason": reason} | (
        {"epochs_done": 2} | FINAL | test
    )


def finish(driver: Driver, order: PackOrder) -> None:
    """A pack that trains all its lanes to the end."""
    lanes = range(len(order.lanes))
    epochs = [epoch(order, lane, number) for number in (1, 2) for lane in lanes]
    driver.session.report(report(order, started=[PLACE], epochs=epochs, ended=[ended(order, lane) for lane in lanes]))
    driver.session.close_pack(order.number, "the worker process died")


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
        assert {name: row[name] for name in PLACE} == PLACE
        assert (row["commit"], row["test_accuracy"], row["epochs_done"], row["seconds"]) == ("abc", 0.75, 2, 1.5)
        assert row["started"] <= row["ended"]
    assert results.load_epochs(driver.paths.root, "small").num_rows == 6
    assert driver.states() == ["finished"] * 3
    kinds = [kind for kind, _ in driver.mirror.calls]
    assert kinds == ["started", "epochs", "ended", "front"]
    assert driver.mirror.numbers("ended") == [0, 1, 2]
    assert driver.mirror.numbers("front") == [0]
    assert [row["trial"] for row in driver.session.leaders.rows] == [0]  # the others are as good


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
    driver.session.report(again | {"pack": 99})
    driver.session.close("finished")
    assert [row["state"] for row in driver.rows()] == ["finished"]
    assert driver.session.counts["finished"] == 1
    assert results.load_epochs(driver.paths.root, "small").num_rows == 0


def test_lanes_of_a_lost_pack_wait_again(driver: Driver) -> None:
    order = driver.start()
    driver.session.report(report(order, ended=[ended(order, 0)]))
    driver.session.close_pack(order.number, "the worker process died")
    assert driver.session.counts["waiting"] == 2
    assert driver.session.counts["failed"] == 0
    assert driver.states() == ["finished", "waiting", "waiting"]
    again = [driver.start(), driver.start()]
    assert [[(lane.trial, lane.attempt) for lane in pack.lanes] for pack in again] == [[(1, 2)], [(2, 2)]]
    for pack in again:
        finish(driver, pack)
    assert [(row["trial"], row["attempt"], row["pack"]) for row in driver.rows()] == [(0, 1, 0), (1, 2, 1), (2, 2, 2)]


def test_a_trial_that_is_given_up_fails_with_the_reason_of_its_last_loss(driver: Driver) -> None:
    driver.queue = driver.session._queue = TrialQueue(driver.study, trials=1, lanes=1)  # pyright: ignore[reportPrivateUsage]
    for attempt in (1, 2, 3):
        assert driver.states() in ([], ["waiting"])
        driver.session.close_pack(driver.start().number, f"RuntimeError: bang {attempt}")
    (row,) = driver.rows()
    assert (row["state"], row["reason"], row["attempt"]) == ("failed", "RuntimeError: bang 3", 3)
    assert (row["epochs_done"], row["val_accuracy"], row["host"]) == (0, None, None)
    assert driver.states() == ["failed"]
    assert driver.session.reasons == {"RuntimeError": 1}
    assert driver.queue.exhausted


def test_parquet_comes_before_the_study(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    order = driver.start()
    seen: list[int] = []
    tell = driver.study.tell
    monkeypatch.setattr(
        driver.study, "tell", lambda rows: (seen.extend([len(driver.written())] * len(rows)), tell(rows))
    )
    finish(driver, order)
    driver.session.recorder.wait()
    assert seen == [3, 3, 3]


def test_a_crash_between_parquet_and_the_study_is_repaired_by_telling_the_rows_again(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = driver.start()

    def crash(_: list[Row]) -> None:
        raise MemoryError

    monkeypatch.setattr(driver.study, "tell", crash)
    finish(driver, order)
    with pytest.raises(MemoryError):
        driver.session.close("finished")
    assert len(driver.written()) == 3
    assert [trial.state for trial in SweepStudy(driver.space, driver.paths.journal).trials()] == ["waiting"] * 3
    study = SweepStudy(driver.space, driver.paths.journal)
    study.tell(driver.written())
    assert study.open_trials() == []
    rows = {row["trial"]: row for row in driver.written()}
    for trial in study.trials():
        assert trial.values == [rows[trial.number]["val_accuracy"], rows[trial.number]["remaining"]]


def test_a_disk_fault_keeps_the_rows_and_the_sweep_goes_on(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    order = driver.start()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("sweeps.storage.parts.pq.write_table", full)
        finish(driver, order)
        assert driver.rows() == []
        assert driver.session.recorder.disk_fault is not None
        assert "No space left on device" in driver.session.recorder.disk_fault
        assert driver.session.counts["finished"] == 3
        # Were the study told now, a crash would leave trials that it calls finished and that are nowhere else.
        assert driver.states() == ["waiting"] * 3
    finish(driver, driver.start())
    assert driver.states() == ["finished"] * 6
    assert driver.session.recorder.disk_fault is None
    assert [row["trial"] for row in driver.rows()] == [0, 1, 2, 3, 4, 5]
    assert driver.states() == ["finished"] * 6


def test_results_that_cannot_be_written_at_the_end_are_an_error(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sweeps.storage.parts.pq.write_table", full)
    finish(driver, driver.start())
    monkeypatch.setattr("sweeps.session.ROOM_SECONDS", 0.1)
    with pytest.raises(SweepError, match="No space left on device") as raised:
        driver.session.close("failed")
    assert raised.value.message.endswith(
        "What is not written yet will be trained again: make room and go on with: "
        f"sweeps resume small --root {driver.paths.root}"
    )


def test_the_end_of_a_session_waits_for_room(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write, tries = pq.write_table, list[int]()

    def full_twice(*arguments: Any, **options: Any) -> None:
        tries.append(1)
        if len(tries) < 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(*arguments, **options)

    monkeypatch.setattr("sweeps.storage.parts.pq.write_table", full_twice)
    finish(driver, driver.start())
    driver.session.close("finished")
    assert [row["state"] for row in driver.written()] == ["finished"] * 3
    assert "The session waits 600 s for that; Ctrl-C gives up what is not written yet." in caplog.text


def test_an_interrupt_leaves_running_trials_waiting(driver: Driver) -> None:
    order = driver.start()
    driver.session.report(report(order, epochs=[epoch(order, lane, 1) for lane in range(3)], ended=[ended(order, 0)]))
    driver.start()
    assert driver.session.interrupt() == 5
    driver.session.close("interrupted")
    assert driver.mirror.numbers("waiting") == [1, 2, 3, 4, 5]
    assert driver.session.counts == {
        "asked": 6, "finished": 1, "stopped": 0, "failed": 0, "running": 0, "waiting": 5,
    }  # fmt: skip
    assert read_session(driver.paths)["state"] == "interrupted"
    assert driver.states() == ["finished"] + ["waiting"] * 5
    assert results.load_epochs(driver.paths.root, "small").num_rows == 3
    later = Driver(driver.paths, driver.space, driver.mirror, driver.keeper)
    assert [(lane.trial, lane.attempt) for lane in later.start().lanes] == [(1, 2), (2, 2), (3, 2)]
    later.session.recorder.stop()


def test_when_tune_breaks_off_all_packs_come_back(driver: Driver) -> None:
    orders = [driver.start(), driver.start()]
    driver.session.report(report(orders[1], ended=[ended(orders[1], 0)]))
    driver.session.lose_packs("Ray Tune broke off")
    assert driver.session.counts["waiting"] == 5
    assert driver.session.packs == {}
    while order := driver.queue.next_pack():
        driver.session.start(order)
        finish(driver, order)
    assert driver.states() == ["finished"] * 6


def test_breakdowns_in_a_row_end_the_session_but_not_with_progress_in_between(driver: Driver) -> None:
    for _ in range(BREAKS - 1):
        driver.session.lose_packs("bang")
    finish(driver, driver.start())
    for _ in range(BREAKS):
        driver.session.lose_packs("bang")
    with pytest.raises(SweepError) as raised:
        driver.session.lose_packs("bang")
    assert raised.value.message == (
        f"sweep small: trials must end between breakdowns, but 5 came in a row (bang). See {driver.paths.log} "
        f"and go on with: sweeps resume small --root {driver.paths.root}."
    )
    assert raised.value.exit_code == 1


def test_epochs_are_written_now_and_then_without_an_ended_trial(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = driver.start()
    driver.session.recorder.wait()
    monkeypatch.setattr("sweeps.sessions.recorder.FLUSH_SECONDS", 0.0)
    driver.session.report(report(order, epochs=[epoch(order, 0, 1)]))
    until = time.monotonic() + 20
    while not results.load_epochs(driver.paths.root, "small").num_rows:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_the_session_file_says_who_works_and_how_far(driver: Driver) -> None:
    driver.start()
    driver.session.recorder.wait()
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
        "trials": {"asked": 3, "finished": 0, "stopped": 0, "failed": 0, "running": 3, "waiting": 0},
    }
    assert read_session(driver.paths)["state"] == "running"
    driver.session.close("failed")
    assert read_session(driver.paths)["state"] == "failed"
    assert list(driver.paths.folder.glob(".tmp-*")) == []


def test_a_session_file_that_cannot_be_written_is_a_note_and_no_end(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sweeps.storage.lease._write", full)
    driver.session.recorder.wait()
    assert driver.session.recorder.disk_fault == "[Errno 28] No space left on device"
    driver.session.close("finished")


def test_a_lane_that_passed_a_rung_waits_and_ends_as_one_trial(driver: Driver) -> None:
    order = driver.start()
    passed, stopped = order.lanes[1], ended(order, 0, "stopped", "stopped after epoch 1")
    driver.session.report(
        report(
            order,
            started=[PLACE | {"started": BEGAN}],
            epochs=[epoch(order, lane, 1) for lane in range(3)],
            ended=[stopped, ended(order, 2, "failed", "diverged: x")],
            paused=[{"trial": passed.trial, "epoch": 1, "seconds": 3.0}],
        )
    )
    driver.session.close_pack(order.number, "the worker process died")
    assert driver.states() == ["stopped", "waiting", "failed"]
    counts = driver.session.counts
    assert (counts["waiting"], counts["running"], counts["stopped"], counts["failed"]) == (1, 0, 1, 1)
    (waiting,) = driver.queue.paused()
    assert (waiting.trial, waiting.attempt, waiting.epoch, waiting.seconds) == (passed.trial, 1, 1, 3.0)
    again = driver.start()
    while not again.epoch:  # new trials fill a pack, so they go first
        assert len(again.lanes) == 3
        again = driver.start()
    assert (again.lanes, again.epoch) == ((waiting,), 1)
    later = PLACE | {"started": BEGAN + timedelta(minutes=1)}
    driver.session.report(report(again, started=[later], epochs=[epoch(again, 0, 2)], ended=[ended(again, 0)]))
    driver.session.close_pack(again.number, "the worker process died")
    (row,) = [row for row in driver.rows() if row["trial"] == passed.trial]
    assert (row["state"], row["attempt"], row["pack"], row["started"]) == ("finished", 1, again.number, BEGAN)


def test_an_interrupt_counts_lanes_between_two_packs_as_waiting(driver: Driver) -> None:
    order = driver.start()
    driver.session.report(
        report(order, paused=[{"trial": lane.trial, "epoch": 1, "seconds": 1.0} for lane in order.lanes])
    )
    driver.session.close_pack(order.number, "the worker process died")
    assert driver.session.interrupt() == 0
    assert sorted(driver.mirror.numbers("waiting")) == [0, 1, 2]
    driver.session.recorder.wait()
    found = SweepStudy(driver.space, driver.paths.journal).open_trials()
    assert [(trial.number, trial.attempts) for trial in found] == [(0, 1), (1, 1), (2, 1)]


def test_a_trial_that_does_not_fit_alone_fails_with_the_remedy(driver: Driver) -> None:
    order, reason = driver.start(), "OutOfMemoryError: CUDA out of memory"
    while True:
        driver.session.close_pack(order.number, reason, out_of_memory=True)
        if driver.session.counts["failed"]:
            break
        order = driver.start()
    (row,) = driver.rows()
    assert row["state"] == "failed"
    assert row["reason"].startswith(f"{reason}. It does not fit alone: lower batch_size or width")


def reached(lane: Lane, attempt: int = 1) -> Reached:
    """What is kept of a lane after its first epoch."""
    return Reached(trial=lane.trial, attempt=attempt, epoch=1, seconds=4.0, started=BEGAN, config="c")


def test_lanes_of_a_lost_pack_go_on_from_their_states_as_the_same_attempt(driver: Driver) -> None:
    order = driver.start()
    epochs = [epoch(order, lane, 1) for lane in range(3)]
    driver.session.report(report(order, epochs=epochs) | {"keeps": True})
    driver.keeper.kept = {lane.trial: reached(lane) for lane in order.lanes[:2]}
    driver.session.close_pack(order.number, "the worker process died")
    found = [driver.start() for _ in range(3)]
    assert [(order.epoch, [(lane.trial, lane.attempt, lane.seconds) for lane in order.lanes]) for order in found] == [
        (1, [(0, 1, 4.0)]), (1, [(1, 1, 4.0)]), (0, [(2, 2, 0.0)]),
    ]  # fmt: skip
    again = found[0]
    driver.session.report(report(again, started=[PLACE], epochs=[epoch(again, 0, 2)], ended=[ended(again, 0)]))
    driver.session.close_pack(again.number, "unused")
    (row,) = driver.rows()
    assert (row["trial"], row["attempt"], row["started"], row["epochs_done"]) == (0, 1, BEGAN, 2)
    own = [row for row in results.load_epochs(driver.paths.root, "small").to_pylist() if row["trial"] == 0]
    assert [(row["attempt"], row["epoch"]) for row in own] == [(1, 1), (1, 2)]


def test_a_state_of_an_attempt_that_was_given_up_is_not_gone_on_from(driver: Driver) -> None:
    order = driver.start()
    driver.keeper.kept = {lane.trial: reached(lane, attempt=7) for lane in order.lanes}
    driver.session.close_pack(order.number, "the worker process died")
    assert [lane.attempt for lane in driver.start().lanes] == [2, 2]


def test_epochs_are_written_at_once_before_a_state_is_kept(driver: Driver) -> None:
    order = driver.start()
    driver.session.recorder.wait()
    driver.session.report(report(order, epochs=[epoch(order, 0, 1)]) | {"keeps": True})
    until = time.monotonic() + 4  # before epochs are written by themselves
    while not results.load_epochs(driver.paths.root, "small").num_rows:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_states_of_trials_go_when_their_end_is_written(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    order = driver.start()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(driver.study, "tell", full)
        driver.session.report(report(order, ended=[ended(order, 0)]))
        driver.session.recorder.wait()
        assert driver.keeper.forgotten == []
    driver.session.report(report(order, ended=[ended(order, 2)]))
    driver.session.recorder.wait()
    assert sorted(driver.keeper.forgotten) == [0, 2]


def test_states_that_cannot_be_written_are_said_once(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    order = driver.start()
    for _ in range(3):
        driver.session.report(report(order) | {"unkept": "checkpoints/0.safetensors: must be written"})
    assert caplog.messages == ["pack 0: a state was not kept: checkpoints/0.safetensors: must be written"]


@pytest.mark.parametrize("paused", [[], [{"trial": 1, "epoch": 1, "seconds": 1.0}]])
def test_an_interrupt_writes_the_states_that_wait(driver: Driver, paused: list[Row]) -> None:
    order = driver.start()
    driver.session.report(report(order, paused=paused))
    driver.session.interrupt()
    assert driver.keeper.settled == len(paused)


def test_a_driver_that_another_one_has_taken_over_from_writes_nothing_more(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = driver.start()
    driver.session.recorder.wait()
    follower = driver.paths.sessions / "000002.json"
    follower.write_text('{"state": "running", "host": "node9", "pid": 77, "since": "2026-05-04T12:00:00.5+00:00"}')
    before = {path: path.read_bytes() for path in driver.paths.folder.rglob("*") if path.is_file()}
    late = report(order, epochs=[epoch(order, 0, 1)], ended=[ended(order, 1)])
    with pytest.raises(SweepError) as raised:
        assert driver.session.report(late) is driver.session.recorder.wait()
    assert raised.value.message == (
        "sweep small: only the last to take over may write: process 77 on node9 (since 2026-05-04 12:00:00 UTC). "
        "This process gave no sign of life for 60 s and ends; what it had not written is done again there."
    )
    with pytest.raises(SweepError, match="only the last to take over may write"):
        driver.session.close("failed")
    assert {path: path.read_bytes() for path in driver.paths.folder.rglob("*") if path.is_file()} == before
