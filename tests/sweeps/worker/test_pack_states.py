"""Lanes whose states are kept: at a rung, and in case the worker is lost."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from search_spaces.space import Stopping
from supermask.pack import Pack
from sweeps.worker.checkpoint_store import CheckpointStore
from sweeps.worker.checkpoints import Checkpoint
from sweeps.worker.messages import Lane, PackOrder, PackReport, PausedLane
from sweeps.worker.pack_worker import PackWorker
from tests.sweeps.orders import SETTINGS, Row, Start, artifacts, config, first, gather, order, renumbered, train

LATE = "the checkpoint store must take a checkpoint within 300 s, but did not."


class Stops:
    """Stands for the rungs: stops the given trials at each epoch."""

    def __init__(self, stops: dict[int, list[int]]) -> None:
        self._stops = stops
        self.before: dict[tuple[int, int], float | None] = {}

    def judge(self, epoch: int, reached: dict[int, Any]) -> list[int]:
        self.before |= {(trial, epoch): metrics["remaining_before"] for trial, metrics in reached.items()}
        return [trial for trial in reached if trial in self._stops.get(epoch, [])]


@pytest.fixture
def kept(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path)


Begin = Callable[..., PackWorker]


@pytest.fixture
def begin(datasets: dict[str, Row], kept: CheckpointStore, monkeypatch: pytest.MonkeyPatch) -> Begin:
    """A worker with rungs after epochs 1, 2 and 4, which keeps states on disk every so many seconds."""
    monkeypatch.setattr("sweeps.worker.pack_worker.REPORT_SECONDS", 1e-4)  # one epoch a step

    def make(stops: dict[int, list[int]] | Stops, checkpoint_seconds: float | None = None) -> PackWorker:
        return PackWorker(
            datasets,
            replace(SETTINGS, stopping=Stopping(eta=2, grace_epochs=1), checkpoint_seconds=checkpoint_seconds),
            kept,
            stops if isinstance(stops, Stops) else Stops(stops),
        )

    return make


def race(worker: PackWorker, orders: list[PackOrder]) -> list[PackReport]:
    """Trains orders one after the other in one worker."""
    reports = list[PackReport]()
    for pack in orders:
        worker.take(pack)
        reports += train(worker)
    assert {report.error for report in reports} == {None}
    return reports


RESULT = ("train_loss", "val_loss", "val_accuracy", "remaining", "inverted", "test_loss", "test_accuracy")


def test_lanes_that_pass_a_rung_go_on_in_another_pack_as_if_nothing_had_been(
    start: Start, begin: Begin, kept: CheckpointStore
) -> None:
    lanes = [config(seed, epochs=4) for seed in range(4)]
    straight = {row["trial"]: row for row in gather(train(start(order(lanes))), "ended")}
    first, second = order(lanes[:2]), order(lanes[2:], number=1, first=12)
    third = renumbered(order([lanes[3], lanes[0]], number=2, epoch=1, seconds=7.0), [13, 10], attempt=1)
    reports = race(begin({1: [11, 12]}), [first, second, third])
    assert [(row["trial"], row["epoch"]) for row in gather(reports, "paused")] == [(10, 1), (13, 1)]
    assert all(row["seconds"] > 0 for row in gather(reports, "paused"))
    assert kept.reached([10, 13]) == {}
    ended = {row["trial"]: row for row in gather(reports, "ended")}
    assert {trial: (row["state"], row["epochs_done"]) for trial, row in ended.items()} == {
        10: ("finished", 4), 11: ("stopped", 1), 12: ("stopped", 1), 13: ("finished", 4),
    }  # fmt: skip
    for trial in (10, 13):
        for name in RESULT:
            assert ended[trial][name] == straight[trial][name], name
        assert ended[trial]["seconds"] > 7
    epochs = [(row["trial"], row["epoch"]) for row in gather(reports, "epochs")]
    assert len(epochs) == len(set(epochs)) == 4 + 2 * 3


def test_the_rungs_are_told_what_remained_an_epoch_earlier_also_by_a_pack_that_begins_there(
    begin: Begin, kept: CheckpointStore
) -> None:
    stops = Stops({})
    worker = begin(stops, checkpoint_seconds=0)
    worker.take(order([config(0, epochs=5)]))
    worker.step()
    rows = [row for _ in range(4) for row in worker.step().epochs.to_pylist()]  # killed after the state of epoch 3
    (found,) = kept.reached([10]).values()
    assert found.epoch == 3
    other = order([config(0, epochs=5)], number=1, epoch=3, started=found.started)
    again = Stops({})
    race(begin(again, checkpoint_seconds=0), [other])
    remaining = {row["epoch"]: row["remaining"] for row in rows}
    assert (stops.before[10, 1], stops.before[10, 2]) == (None, remaining[1])
    assert again.before == {(10, 4): remaining[3]}


def test_a_pack_that_lost_nobody_at_a_rung_goes_on(begin: Begin, tmp_path: Path) -> None:
    reports = race(begin({}), [order([config(0, epochs=3)])])
    assert gather(reports, "paused") == []
    assert [row["epochs_done"] for row in gather(reports, "ended")] == [3]
    assert not any(report.keeps for report in reports)
    assert list(tmp_path.iterdir()) == []  # too short for a checkpoint


@pytest.mark.parametrize("schedule", ["exponential", "plateau"])
@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_trial_cut_off_after_any_epoch_ends_as_one_that_was_not_in_whatever_pack_it_goes_on(
    start: Start, begin: Begin, kept: CheckpointStore, cut: int, schedule: str
) -> None:
    changes: Row = {"epochs": 4, "schedule": schedule} | ({"plateau_patience": 1} if schedule == "plateau" else {})
    lanes = [config(seed, **changes) for seed in range(3)]
    whole = train(start(order(lanes, rivals=[])))
    straight = {row["trial"]: row for row in gather(whole, "ended")}
    judged = {(row["trial"], row["epoch"]): row["estimate"] for row in gather(whole, "epochs")}
    worker = begin({}, checkpoint_seconds=0)
    worker.take(order(lanes))
    worker.step()
    before = [worker.step() for _ in range(cut + 1)]  # killed when the state of epoch `cut` has just been kept
    assert [report.keeps for report in before[:cut]] == [True] * cut
    found = kept.reached([10, 11, 12])
    assert {trial: (one.epoch, one.attempt) for trial, one in found.items()} == {
        10: (cut, 1), 11: (cut, 2), 12: (cut, 3),
    }  # fmt: skip
    written = [row for report in before[:cut] for row in report.epochs.to_pylist()]
    assert {row["epoch"] for row in written} == set(range(1, cut + 1))  # the driver has all that led to it

    more = [Lane(trial, found[trial].attempt, lanes[trial - 10]).again(found[trial]) for trial in (12, 10)]
    other = replace(order([lanes[2], lanes[0]], number=1, rivals=[]), lanes=tuple(more))
    after = race(begin({}, checkpoint_seconds=0), [other])
    assert [row["epoch"] for row in gather(after, "epochs")] == [epoch for epoch in range(cut + 1, 5) for _ in range(2)]
    assert all(row["estimate"] == judged[row["trial"], row["epoch"]] for row in gather(after, "epochs"))
    kept_before, kept_after = artifacts(whole), artifacts(after)
    assert all(kept_after[key] == kept_before[key] for key in kept_after.keys() & kept_before.keys())
    for row in gather(after, "ended"):
        expected = straight[row["trial"]]
        assert {name: row[name] for name in RESULT} == {name: expected[name] for name in RESULT}
        assert row["attempt"] == found[row["trial"]].attempt
        assert row["seconds"] > found[row["trial"]].seconds
    later = kept.reached([10])[10]
    assert (later.epoch, later.started) == (3, found[10].started)


def test_states_are_kept_only_when_the_driver_has_their_epochs(begin: Begin, kept: CheckpointStore) -> None:
    worker = begin({1: [11]}, checkpoint_seconds=0)
    worker.take(order([config(0, epochs=2), config(1, epochs=2)]))
    report = first(worker)
    assert (report.keeps, report.paused, report.done) == (True, (), False)
    assert kept.reached([10]) == {}
    second = worker.step()
    assert [lane.trial for lane in second.paused] == [10]
    assert (second.epochs.num_rows, second.done) == (0, True)
    assert kept.reached([10])[10].epoch == 1


def test_a_state_that_cannot_be_written_is_reported_and_training_goes_on(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CheckpointStore, "_write", lambda *_: "no space")
    reports = race(begin({}, checkpoint_seconds=0), [order([config(0, epochs=3)])])
    assert {report.unkept for report in reports[1:-1]} == {"no space"}
    assert [row["state"] for row in gather(reports, "ended")] == ["finished"]


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Trials whose states the keeper does not take in time."""
    trials, keep = set[int](), CheckpointStore.keep

    def keep_or_not(kept: CheckpointStore, checkpoint: Checkpoint, **how: bool) -> Any:
        if checkpoint.reached.trial in trials:
            raise TimeoutError(LATE)
        return keep(kept, checkpoint, **how)

    monkeypatch.setattr(CheckpointStore, "keep", keep_or_not)
    return trials


def test_every_state_that_is_kept_is_progress(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, worker = list[object](), begin({}, checkpoint_seconds=0)
    monkeypatch.setattr(CheckpointStore, "keep", lambda *_, **__: seen.append(worker.progress))
    race(worker, [order([config(seed) for seed in range(3)])])
    assert len(set(seen)) == len(seen) == 3


def test_a_keeper_that_does_not_answer_costs_a_checkpoint_and_training_goes_on(
    begin: Begin, kept: CheckpointStore, late: set[int]
) -> None:
    late.add(11)
    worker = begin({}, checkpoint_seconds=0)
    worker.take(order([config(seed) for seed in range(3)]))
    first(worker)
    report = worker.step()
    assert report.unkept == f"{LATE} Look whether the disk of the sweep is well."
    assert list(kept.reached([10, 11, 12])) == [10]  # nor is it asked to take the third one
    assert [(lane.trial, lane.state) for lane in report.ended] == [(trial, "finished") for trial in (10, 11, 12)]
    assert (report.done, report.paused) == (True, ())


def test_lanes_that_the_keeper_does_not_take_at_a_rung_go_on_in_their_pack(
    start: Start, begin: Begin, kept: CheckpointStore, late: set[int]
) -> None:
    late.add(12)
    lanes = [config(seed, epochs=3) for seed in range(4)]
    straight = {row["trial"]: row for row in gather(train(start(order(lanes))), "ended")}
    reports = race(begin({1: [11]}), [order(lanes)])
    assert [(row["trial"], row["epoch"]) for row in gather(reports, "paused")] == [(10, 1)]
    assert kept.reached([10, 11, 12, 13]).keys() == {10}
    ended = {row["trial"]: row for row in gather(reports, "ended")}
    assert {trial: (row["state"], row["epochs_done"]) for trial, row in ended.items()} == {
        11: ("stopped", 1), 12: ("finished", 3), 13: ("finished", 3),
    }  # fmt: skip
    for trial in (12, 13):
        assert {name: ended[trial][name] for name in RESULT} == {name: straight[trial][name] for name in RESULT}
    epochs = [(row["trial"], row["epoch"]) for row in gather(reports, "epochs")]
    assert sorted(epochs) == [(10, 1), (11, 1), *((trial, epoch) for trial in (12, 13) for epoch in (1, 2, 3))]
    assert [report.unkept is not None for report in reports] == [False, True, False]


def test_a_judge_that_does_not_answer_stops_nobody(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stops, "judge", mock.Mock(side_effect=TimeoutError))
    reports = race(begin({1: [10]}), [order([config(0), config(1)])])
    assert [row["state"] for row in gather(reports, "ended")] == ["finished", "finished"]
    assert gather(reports, "paused") == []


def test_a_pack_whose_states_are_gone_says_so(begin: Begin) -> None:
    worker = begin({})
    worker.take(order([config(0)], epoch=1))
    report = worker.step()
    assert report.error == "LookupError: the trained states of trials [10] after epoch 1 are gone"
    assert report.done


def test_a_preempted_pack_keeps_all_states_and_hands_its_lanes_back(begin: Begin, kept: CheckpointStore) -> None:
    worker = begin({})
    worker.take(order([config(seed, epochs=9) for seed in range(2)]))
    first(worker)
    kept.preempt([0], ending=False)
    report = worker.step()
    assert (report.epoch, report.keeps, report.paused, report.done) == (2, True, (), False)
    assert kept.reached([10, 11]) == {}  # the driver has yet to hear of the epochs
    assert not worker.has_left
    report = worker.step()
    assert [(lane.trial, lane.epoch) for lane in report.paused] == [(10, 2), (11, 2)]
    assert (report.epochs.num_rows, report.ended, report.done, worker.has_left) == (0, (), False, True)
    assert {trial: one.epoch for trial, one in kept.reached([10, 11]).items()} == {10: 2, 11: 2}


def test_a_preempted_pack_that_ends_by_itself_leaves_too(begin: Begin, kept: CheckpointStore) -> None:
    worker = begin({})
    worker.take(order([config(0, epochs=1)]))
    worker.step()
    kept.preempt([0], ending=False)
    report = worker.step()
    assert [lane.state for lane in report.ended] == ["finished"]
    assert (report.done, worker.has_left) == (False, True)


def test_a_pack_that_is_preempted_before_it_begins_hands_its_lanes_back_as_they_were(
    begin: Begin, kept: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pack, "__init__", lambda *_, **__: pytest.fail("it must not be built"))
    kept.preempt([0], ending=False)
    worker = begin({})
    worker.take(order([config(0), config(1)], epoch=3))
    report = worker.step()
    assert report.paused == (PausedLane(10, 3, 0.0), PausedLane(11, 3, 0.0))
    assert (report.place, report.done, report.error, worker.has_left) == (None, False, None, True)
