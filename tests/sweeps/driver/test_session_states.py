"""Trials of a session that go on from their states: after a rung, a lost pack, an interrupt."""

import errno
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from sweeps import results
from sweeps.search.study import SweepStudy
from sweeps.worker.checkpoints import Reached
from sweeps.worker.messages import Lane, PausedLane
from tests.sweeps.books import BEGAN, PLACE, Driver, ended, epoch, report


def reached(lane: Lane, attempt: int = 1) -> Reached:
    """What is kept of a lane after its first epoch."""
    return Reached(trial=lane.trial, attempt=attempt, epoch=1, seconds=4.0, started=BEGAN, config="c")


def test_a_lane_that_passed_a_rung_waits_and_ends_as_one_trial(driver: Driver) -> None:
    order = driver.start()
    passed, stopped = order.lanes[1], ended(order, 0, "stopped", "stopped after epoch 1")
    driver.session.report(
        report(
            order,
            place=PLACE,
            epochs=[epoch(order, lane, 1) for lane in range(3)],
            ended=[stopped, ended(order, 2, "failed", "diverged: x")],
            paused=[PausedLane(passed.trial, 1, 3.0)],
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
    later = replace(PLACE, started=BEGAN + timedelta(minutes=1))
    driver.session.report(report(again, place=later, epochs=[epoch(again, 0, 2)], ended=[ended(again, 0)]))
    driver.session.close_pack(again.number, "the worker process died")
    (row,) = [row for row in driver.rows() if row["trial"] == passed.trial]
    assert (row["state"], row["attempt"], row["pack"], row["started"]) == ("finished", 1, again.number, BEGAN)


def test_an_interrupt_counts_lanes_between_two_packs_as_waiting(driver: Driver) -> None:
    order = driver.start()
    driver.session.report(report(order, paused=[PausedLane(lane.trial, 1, 1.0) for lane in order.lanes]))
    driver.session.close_pack(order.number, "the worker process died")
    assert driver.session.interrupt() == 0
    assert sorted(driver.mirror.numbers("waiting")) == [0, 1, 2]
    driver.recorder.wait()
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


def test_lanes_of_a_lost_pack_go_on_from_their_states_as_the_same_attempt(driver: Driver) -> None:
    order = driver.start()
    epochs = [epoch(order, lane, 1) for lane in range(3)]
    driver.session.report(report(order, epochs=epochs, keeps=True))
    driver.keeper.kept = {lane.trial: reached(lane) for lane in order.lanes[:2]}
    driver.session.close_pack(order.number, "the worker process died")
    found = [driver.start() for _ in range(3)]
    assert [(order.epoch, [(lane.trial, lane.attempt, lane.seconds) for lane in order.lanes]) for order in found] == [
        (1, [(0, 1, 4.0)]), (1, [(1, 1, 4.0)]), (0, [(2, 2, 0.0)]),
    ]  # fmt: skip
    again = found[0]
    driver.session.report(report(again, place=PLACE, epochs=[epoch(again, 0, 2)], ended=[ended(again, 0)]))
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
    driver.recorder.wait()
    driver.session.report(report(order, epochs=[epoch(order, 0, 1)], keeps=True))
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
        driver.recorder.wait()
        assert driver.keeper.forgotten == []
    driver.session.report(report(order, ended=[ended(order, 2)]))
    driver.recorder.wait()
    assert sorted(driver.keeper.forgotten) == [0, 2]


def test_states_that_cannot_be_written_are_said_once(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    order = driver.start()
    for _ in range(3):
        driver.session.report(report(order, unkept="checkpoints/0.safetensors: must be written"))
    assert caplog.messages == ["pack 0: a checkpoint was not kept: checkpoints/0.safetensors: must be written"]


@pytest.mark.parametrize("paused", [[], [PausedLane(1, 1, 1.0)]])
def test_an_interrupt_writes_the_states_that_wait(driver: Driver, paused: list[PausedLane]) -> None:
    order = driver.start()
    driver.session.report(report(order, paused=paused))
    driver.session.interrupt()
    assert driver.keeper.settled == len(paused)


def test_a_trial_is_waiting_until_its_pack_has_a_worker(driver: Driver) -> None:
    order = driver.hand_out()
    assert (driver.session.counts["running"], driver.session.counts["waiting"]) == (0, 3)
    driver.recorder.wait()
    assert driver.mirror.numbers("started") == []
    driver.session.report(report(order, place=PLACE))
    assert (driver.session.counts["running"], driver.session.counts["waiting"]) == (3, 0)
    assert driver.mirror.numbers("started") == [0, 1, 2]
    pack = driver.session.packs[order.number]
    assert (pack.node, pack.is_fresh, pack.place) == ("abcd", True, PLACE)


def test_lanes_of_a_pack_that_gave_its_worker_back_untrained_wait_as_they_were(driver: Driver) -> None:
    order = driver.hand_out()
    waits = [PausedLane(lane.trial, 0, 0.0) for lane in order.lanes]
    driver.session.report(report(order, paused=waits))
    driver.session.close_pack(order.number, "the worker process died")
    again = driver.hand_out()
    assert again.lanes == order.lanes
