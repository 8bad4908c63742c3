"""Lanes whose states are kept: at a rung, and in case the worker is lost."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import GetTimeoutError

from search_spaces.space import Stopping
from supermask.pack import Pack
from sweeps.worker.checkpoint_actor import Keeper
from sweeps.worker.checkpoints import Checkpoint
from sweeps.worker.pack_worker import PackWorker
from sweeps.worker.trainable import PackTrainable
from sweeps.worker.watchdog import Watchdog
from tests.sweeps.orders import Row, config, first, gather, order, train

LATE = object()
"""What an actor gives that does not answer in time."""


def answer(given: Any, timeout: float | None = None) -> Any:
    """Stands for `ray.get`."""
    if given is LATE and timeout:
        raise GetTimeoutError
    return given


class Local:
    """An object in this process, called as an actor is."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=getattr(self.kind, name))


class Stops:
    """Stands for the rungs: stops the given trials at each epoch."""

    def __init__(self, stops: dict[int, list[int]]) -> None:
        self._stops = stops
        self.before: dict[tuple[int, int], float | None] = {}

    def judge(self, epoch: int, reached: dict[int, Any]) -> list[int]:
        self.before |= {(trial, epoch): metrics["remaining_before"] for trial, metrics in reached.items()}
        return [trial for trial in reached if trial in self._stops.get(epoch, [])]


@pytest.fixture
def kept(tmp_path: Path) -> Keeper:
    return Keeper(tmp_path)


Begin = Callable[..., PackWorker]


@pytest.fixture
def begin(datasets: dict[str, Row], kept: Keeper, monkeypatch: pytest.MonkeyPatch) -> Begin:
    """A worker with rungs after epochs 1, 2 and 4, which keeps states on disk every so many seconds."""
    monkeypatch.setattr("sweeps.worker.pack_worker.ray.get", answer)
    monkeypatch.setattr("sweeps.worker.pack_worker.REPORT_SECONDS", 1e-4)  # one epoch a step

    def make(stops: dict[int, list[int]] | Stops, checkpoint_seconds: float | None = None) -> PackWorker:
        return PackWorker(
            datasets,
            Stopping(eta=2, grace_epochs=1),
            Local(stops if isinstance(stops, Stops) else Stops(stops)),
            keeper=Local(kept),
            checkpoint_seconds=checkpoint_seconds,
        )

    return make


def race(worker: PackWorker, orders: list[Row]) -> list[Row]:
    """Trains orders one after the other in one worker."""
    reports = list[Row]()
    for pack in orders:
        worker.take(pack)
        reports += train(worker)
    assert {report["error"] for report in reports} == {None}
    return reports


RESULT = ("train_loss", "val_loss", "val_accuracy", "remaining", "inverted", "test_loss", "test_accuracy")


def test_lanes_that_pass_a_rung_go_on_in_another_pack_as_if_nothing_had_been(
    start: Callable[[Row], PackTrainable], begin: Begin, kept: Keeper
) -> None:
    lanes = [config(seed, epochs=4) for seed in range(4)]
    straight = {row["trial"]: row for row in gather(train(start(order(lanes))), "ended")}
    first, second = order(lanes[:2]), order(lanes[2:], number=1)
    for lane in second["lanes"]:
        lane["trial"] += 2
    third: Row = order([lanes[3], lanes[0]], number=2) | {"epoch": 1}
    for lane, trial in zip(third["lanes"], (13, 10), strict=True):
        lane |= {"trial": trial, "seconds": 7.0}
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
    begin: Begin, kept: Keeper
) -> None:
    stops = Stops({})
    worker = begin(stops, checkpoint_seconds=0)
    worker.take(order([config(0, epochs=5)]))
    worker.step()
    rows = [row for _ in range(4) for row in worker.step()["epochs"].to_pylist()]  # killed after the state of epoch 3
    (found,) = kept.reached([10]).values()
    assert found.epoch == 3
    other: Row = order([config(0, epochs=5)], number=1) | {"epoch": 3}
    other["lanes"][0]["started"] = found.started
    again = Stops({})
    race(begin(again, checkpoint_seconds=0), [other])
    remaining = {row["epoch"]: row["remaining"] for row in rows}
    assert (stops.before[10, 1], stops.before[10, 2]) == (None, remaining[1])
    assert again.before == {(10, 4): remaining[3]}


def test_a_pack_that_lost_nobody_at_a_rung_goes_on(begin: Begin, tmp_path: Path) -> None:
    reports = race(begin({}), [order([config(0, epochs=3)])])
    assert gather(reports, "paused") == []
    assert [row["epochs_done"] for row in gather(reports, "ended")] == [3]
    assert not any(report["keeps"] for report in reports)
    assert list(tmp_path.iterdir()) == []  # too short for a checkpoint


@pytest.mark.parametrize("schedule", ["exponential", "plateau"])
@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_trial_cut_off_after_any_epoch_ends_as_one_that_was_not_in_whatever_pack_it_goes_on(
    start: Callable[[Row], PackTrainable], begin: Begin, kept: Keeper, cut: int, schedule: str
) -> None:
    more: Row = {"epochs": 4, "schedule": schedule} | ({"plateau_patience": 1} if schedule == "plateau" else {})
    lanes = [config(seed, **more) for seed in range(3)]
    straight = {row["trial"]: row for row in gather(train(start(order(lanes, rivals=[]))), "ended")}
    worker = begin({}, checkpoint_seconds=0)
    worker.take(order(lanes))
    worker.step()
    before = [worker.step() for _ in range(cut + 1)]  # killed when the state of epoch `cut` has just been kept
    assert [report["keeps"] for report in before[:cut]] == [True] * cut
    found = kept.reached([10, 11, 12])
    assert {trial: (one.epoch, one.attempt) for trial, one in found.items()} == {
        10: (cut, 1), 11: (cut, 2), 12: (cut, 3),
    }  # fmt: skip
    written = [row for report in before[:cut] for row in report["epochs"].to_pylist()]
    assert {row["epoch"] for row in written} == set(range(1, cut + 1))  # the driver has all that led to it

    other: Row = order([lanes[2], lanes[0]], number=1, rivals=[]) | {"epoch": cut}
    for lane, trial in zip(other["lanes"], (12, 10), strict=True):
        lane |= {"trial": trial, "attempt": found[trial].attempt, "seconds": found[trial].seconds}
        lane["started"] = found[trial].started
    after = race(begin({}, checkpoint_seconds=0), [other])
    assert [row["epoch"] for row in gather(after, "epochs")] == [epoch for epoch in range(cut + 1, 5) for _ in range(2)]
    for row in gather(after, "ended"):
        expected = straight[row["trial"]]
        assert {name: row[name] for name in RESULT} == {name: expected[name] for name in RESULT}
        assert row["artifact"] == expected["artifact"]
        assert row["attempt"] == found[row["trial"]].attempt
        assert row["seconds"] > found[row["trial"]].seconds
    later = kept.reached([10])[10]
    assert (later.epoch, later.started) == (3, found[10].started)


def test_states_are_kept_only_when_the_driver_has_their_epochs(begin: Begin, kept: Keeper) -> None:
    worker = begin({1: [11]}, checkpoint_seconds=0)
    worker.take(order([config(0, epochs=2), config(1, epochs=2)]))
    report = first(worker)
    assert (report["keeps"], report["paused"], report["done"]) == (True, [], False)
    assert kept.reached([10]) == {}
    second = worker.step()
    assert [row["trial"] for row in second["paused"]] == [10]
    assert (second["epochs"].num_rows, second["done"]) == (0, True)
    assert kept.reached([10])[10].epoch == 1


def test_a_state_that_cannot_be_written_is_reported_and_training_goes_on(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Keeper, "_write", lambda *_: "no space")
    reports = race(begin({}, checkpoint_seconds=0), [order([config(0, epochs=3)])])
    assert {report["unkept"] for report in reports[1:-1]} == {"no space"}
    assert [row["state"] for row in gather(reports, "ended")] == ["finished"]


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Trials whose states the keeper does not take in time."""
    trials, keep = set[int](), Keeper.keep

    def keep_or_not(kept: Keeper, checkpoint: Checkpoint, **how: bool) -> Any:
        return LATE if checkpoint.reached.trial in trials else keep(kept, checkpoint, **how)

    monkeypatch.setattr(Keeper, "keep", keep_or_not)
    return trials


def test_every_state_that_is_kept_is_progress(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = list[object]()

    def watch(_: Watchdog, work: Callable[[], Row], progress: Callable[[], object]) -> Row:
        monkeypatch.setattr(Keeper, "keep", lambda *_, **__: seen.append(progress()))
        return work()

    monkeypatch.setattr(Watchdog, "watch", watch)
    race(begin({}, checkpoint_seconds=0), [order([config(seed) for seed in range(3)])])
    assert len(set(seen)) == len(seen) == 3


def test_a_keeper_that_does_not_answer_costs_a_checkpoint_and_training_goes_on(
    begin: Begin, kept: Keeper, late: set[int]
) -> None:
    late.add(11)
    worker = begin({}, checkpoint_seconds=0)
    worker.take(order([config(seed) for seed in range(3)]))
    first(worker)
    report = worker.step()
    assert report["unkept"] == (
        "the process that keeps states must take one within 300 s, but did not. Look whether the disk of the sweep is "
        "well."
    )
    assert list(kept.reached([10, 11, 12])) == [10]  # nor is it asked to take the third one
    assert [(row["trial"], row["state"]) for row in report["ended"]] == [(trial, "finished") for trial in (10, 11, 12)]
    assert (report["done"], report["paused"]) == (True, [])


def test_lanes_that_the_keeper_does_not_take_at_a_rung_go_on_in_their_pack(
    start: Callable[[Row], PackTrainable], begin: Begin, kept: Keeper, late: set[int]
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
    assert [report["unkept"] is not None for report in reports] == [False, True, False]


def test_a_judge_that_does_not_answer_stops_nobody(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stops, "judge", lambda *_: LATE)
    reports = race(begin({1: [10]}), [order([config(0), config(1)])])
    assert [row["state"] for row in gather(reports, "ended")] == ["finished", "finished"]
    assert gather(reports, "paused") == []


def test_a_pack_whose_states_are_gone_says_so(begin: Begin) -> None:
    worker = begin({})
    worker.take(order([config(0)]) | {"epoch": 1})
    report = worker.step()
    assert report["error"] == "LookupError: the trained states of trials [10] after epoch 1 are gone"
    assert report["done"]


def test_a_preempted_pack_keeps_all_states_hands_its_lanes_back_and_ends_its_process(
    begin: Begin, kept: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    exits = list[str]()
    monkeypatch.setattr("sweeps.worker.pack_worker.exit_actor", lambda: exits.append("left"))
    worker = begin({})
    worker.take(order([config(seed, epochs=9) for seed in range(2)]))
    first(worker)
    kept.preempt([0], ending=False)
    report = worker.step()
    assert (report["epoch"], report["keeps"], report["paused"], report["done"]) == (2, True, [], False)
    assert kept.reached([10, 11]) == {}  # the driver has yet to hear of the epochs
    report = worker.step()
    assert [(row["trial"], row["epoch"]) for row in report["paused"]] == [(10, 2), (11, 2)]
    assert (report["epochs"].num_rows, report["ended"], report["done"], exits) == (0, [], False, [])
    assert {trial: one.epoch for trial, one in kept.reached([10, 11]).items()} == {10: 2, 11: 2}
    worker.step()
    assert exits == ["left"]


def test_a_preempted_pack_that_ends_by_itself_ends_its_process_too(
    begin: Begin, kept: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    exits = list[str]()
    monkeypatch.setattr("sweeps.worker.pack_worker.exit_actor", lambda: exits.append("left"))
    worker = begin({})
    worker.take(order([config(0, epochs=1)]))
    worker.step()
    kept.preempt([0], ending=False)
    report = worker.step()
    assert [row["state"] for row in report["ended"]] == ["finished"]
    assert not report["done"]
    worker.step()
    assert exits == ["left"]


def test_a_pack_that_is_preempted_before_it_begins_hands_its_lanes_back_as_they_were(
    begin: Begin, kept: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pack, "__init__", lambda *_, **__: pytest.fail("it must not be built"))
    kept.preempt([0], ending=False)
    worker = begin({})
    worker.take(order([config(0), config(1)]) | {"epoch": 3})
    report = worker.step()
    assert report["paused"] == [{"trial": trial, "epoch": 3, "seconds": 0.0} for trial in (10, 11)]
    assert (report["started"], report["done"], report["error"]) == ([], False, None)


def test_a_pack_does_not_wait_for_an_actor_that_is_slow_to_say_whether_it_is_preempted(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Keeper, "is_preempted", lambda *_: LATE)
    assert [row["state"] for row in gather(race(begin({}), [order([config(0)])]), "ended")] == ["finished"]
