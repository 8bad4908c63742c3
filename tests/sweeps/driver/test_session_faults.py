"""What a session does when packs, disks, Tune or its lease are lost."""

import errno
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from sweeps import results
from sweeps.driver.queue import TrialQueue
from sweeps.driver.session import BREAKS
from sweeps.errors import SweepError
from sweeps.search.study import SweepStudy
from sweeps.store.lease import read_session
from tests.sweeps.books import FINAL, PLACE, Driver, Row, ended, epoch, finish, report


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
        driver.session.close_pack(driver.hand_out().number, f"RuntimeError: bang {attempt}")
    (row,) = driver.rows()
    assert (row["state"], row["reason"], row["attempt"]) == ("failed", "RuntimeError: bang 3", 3)
    assert (row["epochs_done"], row["val_accuracy"], row["host"]) == (0, None, None)
    assert driver.states() == ["failed"]
    assert driver.session.reasons == {"RuntimeError": 1}
    assert driver.queue.exhausted


def test_a_trial_that_is_given_up_after_some_epochs_keeps_what_it_had_reached(driver: Driver) -> None:
    driver.queue = driver.session._queue = TrialQueue(driver.study, trials=1, lanes=1)  # pyright: ignore[reportPrivateUsage]
    for _ in range(3):
        order = driver.start()
        driver.session.report(report(order, place=PLACE, epochs=[epoch(order, 0, number) for number in (1, 2)]))
        driver.session.close_pack(order.number, "RuntimeError: bang")
    (row,) = driver.rows()
    assert (row["state"], row["attempt"], row["epochs_done"]) == ("failed", 3, 2)
    assert {name: row[name] for name in FINAL} == FINAL


def test_parquet_comes_before_the_study(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    order = driver.start()
    seen: list[int] = []
    tell = driver.study.tell
    monkeypatch.setattr(
        driver.study, "tell", lambda rows: (seen.extend([len(driver.written())] * len(rows)), tell(rows))
    )
    finish(driver, order)
    driver.recorder.wait()
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
        driver.close("finished")
    assert len(driver.written()) == 3
    assert [trial.state for trial in SweepStudy(driver.space, driver.paths.journal).trials()] == ["waiting"] * 3
    study = SweepStudy(driver.space, driver.paths.journal)
    study.tell(driver.written())
    assert study.open_trials() == []
    rows = {row["trial"]: row for row in driver.written()}
    for trial in study.trials():
        assert trial.values == [rows[trial.number]["estimate"], math.log10(rows[trial.number]["remaining"])]


def test_a_disk_fault_keeps_the_rows_and_the_sweep_goes_on(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    order = driver.start()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("sweeps.store.parts.pq.write_table", full)
        finish(driver, order)
        assert driver.rows() == []
        assert driver.recorder.disk_fault is not None
        assert "No space left on device" in driver.recorder.disk_fault
        assert driver.session.counts["finished"] == 3
        # Were the study told now, a crash would leave trials that it calls finished and that are nowhere else.
        assert driver.states() == ["waiting"] * 3
    finish(driver, driver.start())
    assert driver.states() == ["finished"] * 6
    assert driver.recorder.disk_fault is None
    assert [row["trial"] for row in driver.rows()] == [0, 1, 2, 3, 4, 5]
    assert driver.states() == ["finished"] * 6


def test_results_that_cannot_be_written_at_the_end_are_an_error(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sweeps.store.parts.pq.write_table", full)
    finish(driver, driver.start())
    monkeypatch.setattr("sweeps.driver.opening.ROOM_SECONDS", 0.1)
    with pytest.raises(SweepError, match="No space left on device") as raised:
        driver.close("failed")
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

    monkeypatch.setattr("sweeps.store.parts.pq.write_table", full_twice)
    finish(driver, driver.start())
    driver.close("finished")
    assert [row["state"] for row in driver.written()] == ["finished"] * 3
    assert "The session waits 600 s for that; Ctrl-C gives up what is not written yet." in caplog.text


@contextmanager
def unreachable(folder: Path, *, times: float = math.inf) -> Iterator[None]:
    """As of a file server that does not answer: whoever asks for a file there gets an error, so many times."""
    exists, asked = Path.exists, list[Path]()

    def ask(path: Path) -> bool:
        if path.parent != folder or len(asked) >= times:
            return exists(path)
        asked.append(path)
        raise OSError(errno.EIO, "Input/output error")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "exists", ask)
        yield


def test_while_nobody_can_say_who_holds_the_lease_rows_wait_in_memory(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.driver.recorder.FLUSH_SECONDS", 0.0)
    order = driver.start()
    driver.recorder.wait()
    with unreachable(driver.paths.sessions):
        finish(driver, order)
        assert driver.rows() == []
        assert driver.recorder.disk_fault == "[Errno 5] Input/output error"
        assert driver.states() == ["waiting"] * 3
    finish(driver, driver.start())
    assert [row["trial"] for row in driver.rows()] == [0, 1, 2, 3, 4, 5]
    assert driver.states() == ["finished"] * 6
    assert driver.recorder.disk_fault is None


def test_the_end_of_a_session_waits_for_a_disk_that_does_not_answer(driver: Driver) -> None:
    order = driver.start()
    driver.recorder.wait()
    driver.recorder.stop()
    finish(driver, order)
    with unreachable(driver.paths.sessions, times=2):
        driver.close("finished")
    assert [row["state"] for row in driver.written()] == ["finished"] * 3


def test_a_disk_that_does_not_answer_to_the_end_is_an_error(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.driver.opening.ROOM_SECONDS", 0.1)
    finish(driver, driver.start())
    with unreachable(driver.paths.sessions), pytest.raises(SweepError) as raised:
        driver.close("finished")
    assert raised.value.message.startswith(
        f"{driver.paths.sessions}: must be readable, but got: [Errno 5] Input/output error. What is not written yet "
    )


def test_an_interrupt_leaves_running_trials_waiting(driver: Driver) -> None:
    order = driver.start()
    driver.session.report(report(order, epochs=[epoch(order, lane, 1) for lane in range(3)], ended=[ended(order, 0)]))
    driver.start()
    assert driver.session.interrupt() == 5
    driver.close("interrupted")
    driver.lease.end("interrupted")
    assert driver.mirror.numbers("waiting") == [1, 2, 3, 4, 5]
    assert driver.session.counts == {
        "asked": 6, "finished": 1, "stopped": 0, "failed": 0, "running": 0, "waiting": 5,
    }  # fmt: skip
    assert read_session(driver.paths)["state"] == "interrupted"
    assert driver.states() == ["finished"] + ["waiting"] * 5
    assert results.load_epochs(driver.paths.root, "small").num_rows == 3
    later = Driver(driver.paths, driver.space, driver.mirror, driver.keeper)
    assert [(lane.trial, lane.attempt) for lane in later.start().lanes] == [(1, 2), (2, 2), (3, 2)]
    later.recorder.stop()


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
        f"and go on with: sweeps resume small --root {driver.paths.root}"
    )
    assert raised.value.exit_code == 1


def test_a_session_file_that_cannot_be_written_is_said_once_and_no_end(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sweeps.store.lease._write", full)
    for _ in range(3):
        driver.lease.tell(driver.session.describe)
    driver.close("finished")
    driver.lease.end("finished")
    assert caplog.messages == [f"{driver.lease.path}: must be written, but got: [Errno 28] No space left on device"]


def test_a_driver_that_another_one_has_taken_over_from_writes_nothing_more(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = driver.start()
    driver.recorder.wait()
    follower = driver.paths.sessions / "000002.json"
    follower.write_text('{"state": "running", "host": "node9", "pid": 77, "since": "2026-05-04T12:00:00.5+00:00"}')
    before = {path: path.read_bytes() for path in driver.paths.folder.rglob("*") if path.is_file()}
    late = report(order, epochs=[epoch(order, 0, 1)], ended=[ended(order, 1)])
    with pytest.raises(SweepError) as raised:
        assert driver.session.report(late) is driver.recorder.wait()
    assert raised.value.message == (
        "sweep small: only the last to take over may write: process 77 on node9 (since 2026-05-04 12:00:00 UTC). "
        "This process gave no sign of life for 60 s and ends; what it had not written is done again there."
    )
    with pytest.raises(SweepError, match="only the last to take over may write"):
        driver.close("failed")
    assert {path: path.read_bytes() for path in driver.paths.folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("state", ["finished", "interrupted"])
def test_so_does_one_from_which_it_is_taken_in_the_middle_of_a_write(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    write = pq.write_table

    def slowly(*arguments: Any, **options: Any) -> None:
        write(*arguments, **options)
        (driver.paths.sessions / "000002.json").write_text('{"state": "running", "host": "node9", "pid": 77}')

    finish(driver, driver.start())
    driver.recorder.wait()
    driver.recorder.stop()
    late = driver.start()
    monkeypatch.setattr("sweeps.store.parts.pq.write_table", slowly)
    finish(driver, late)
    with pytest.raises(SweepError, match="only the last to take over may write: process 77 on node9"):
        driver.close(state)
    assert [row["trial"] for row in driver.written()] == [0, 1, 2]
    with pytest.raises(SweepError, match="only the last to take over may write: process 77 on node9"):
        driver.study.ask()
