"""The dispatcher over a real session, called by Ray Tune's searcher as Tune calls that."""

import math
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from search_spaces.space import SearchSpace
from sweeps import results
from sweeps.driver.ray_executor import PackSearcher
from sweeps.driver.sharing import Allotment
from sweeps.store.paths import SweepPaths
from sweeps.worker.messages import PackOrder, PausedLane
from sweeps.worker.ray_worker import parcel
from tests.sweeps.books import PLACE, Driver, finished, report

Row = dict[str, Any]


@dataclass
class Sweep:
    """A searcher and all it works on."""

    root: Path
    space: SearchSpace
    mirror: Any
    keeper: Any
    allotment: Allotment = field(default_factory=lambda: Allotment(10**6))

    def look(self, packs: Any) -> Allotment:
        """What the session may do."""
        return self.allotment

    def __post_init__(self) -> None:
        paths = SweepPaths(self.root, self.space.name)
        self.driver = Driver(paths, self.space, self.mirror, self.keeper, lanes=2, share=self)
        self.session, self.queue, self.end = self.driver.session, self.driver.queue, self.driver.end
        self.searcher = PackSearcher(self.driver.dispatcher)

    def suggest(self, name: str) -> PackOrder:
        """A pack, which there must be, when the sampler has its trials."""
        while (found := self.searcher.suggest(name)) is None:
            time.sleep(0.01)
        return found["order"]

    def begin(self, name: str) -> PackOrder:
        """A pack that a worker has taken."""
        order = self.suggest(name)
        self.searcher.on_trial_result(name, parcel(report(order, place=PLACE)))
        return order

    def states(self) -> list[tuple[str, str | None]]:
        """State and reason of every ended trial, from Parquet."""
        self.driver.recorder.wait()
        rows = results.load(self.root, self.space.name).to_pylist()
        return [(row["state"], row["reason"]) for row in rows]


@pytest.fixture
def sweep(tmp_path: Path, small_space: Callable[..., SearchSpace], mirror: Any, states: Any) -> Iterator[Sweep]:
    found = Sweep(tmp_path, small_space(trials=4), mirror, states)
    yield found
    found.driver.recorder.stop()


def end(order: PackOrder) -> Row:
    """The last result of a pack whose lanes have all finished."""
    return parcel(finished(order))


def broken(order: PackOrder, error: str) -> Row:
    return parcel(report(order, error=error, done=True))


def interrupting(step: Callable[..., Any], number: signal.Signals) -> Callable[..., Any]:
    """A step of the books in the middle of which somebody presses Ctrl-C, again and again."""

    def wrapped(*arguments: Any) -> Any:
        os.kill(os.getpid(), number)
        return step(*arguments)

    return wrapped


def test_a_suggestion_is_a_whole_pack(sweep: Sweep) -> None:
    order = sweep.suggest("a")
    assert (order.number, order.slots, order.rivals) == (0, 2, ())
    assert [(lane.trial, lane.attempt) for lane in order.lanes] == [(0, 1), (1, 1)]
    assert [lane.config for lane in order.lanes] == [trial.config for trial in sweep.driver.study.open_trials()]


def test_a_pack_is_told_what_its_networks_must_beat(sweep: Sweep) -> None:
    sweep.searcher.on_trial_complete("a", end(sweep.suggest("a")))
    sweep.driver.recorder.wait()
    assert sweep.suggest("b").rivals == ((-0.79, math.log10(0.2), 0, 1),)


def test_when_nothing_is_left_tune_waits_for_packs_in_training_and_then_ends(sweep: Sweep) -> None:
    searcher = sweep.searcher
    orders = [sweep.suggest(name) for name in ("a", "b")]
    assert searcher.suggest("c") is None
    searcher.on_trial_result("a", end(orders[0]))
    searcher.on_trial_complete("a")
    assert searcher.suggest("c") is None
    # Tune gives the last report of a pack to on_trial_complete alone.
    searcher.on_trial_complete("b", end(orders[1]))
    assert searcher.suggest("c") == Searcher.FINISHED
    assert sweep.states() == [("finished", None)] * 4


def test_trials_of_a_worker_that_died_are_handed_out_again_before_the_end(sweep: Sweep) -> None:
    searcher = sweep.searcher
    orders = [sweep.suggest(name) for name in ("a", "b")]
    searcher.on_trial_complete("b", end(orders[1]))
    searcher.on_trial_complete("a", error=True)
    again = [sweep.suggest(name) for name in ("c", "d")]
    assert [[(lane.trial, lane.attempt) for lane in order.lanes] for order in again] == [[(0, 2)], [(1, 2)]]
    for name, order in zip(("c", "d"), again, strict=True):
        searcher.on_trial_complete(name, end(order))
    assert searcher.suggest("e") == Searcher.FINISHED
    assert sweep.states() == [("finished", None)] * 4


def test_a_dead_workers_last_result_is_not_taken_twice(sweep: Sweep) -> None:
    order = sweep.suggest("a")
    sweep.searcher.on_trial_complete("a", end(order), error=True)
    assert sweep.states() == []
    assert sweep.session.counts["waiting"] == 2


def test_what_tune_keeps_of_a_report_is_empty(sweep: Sweep) -> None:
    result = end(sweep.suggest("a"))
    sweep.searcher.on_trial_complete("a", result)
    assert result["report"] == []


@pytest.mark.parametrize(
    ("error", "reason"), [("RuntimeError: bang", "RuntimeError: bang"), (None, "the worker process died")]
)
def test_a_trial_that_breaks_alone_fails_with_what_its_worker_said(
    sweep: Sweep, error: str | None, reason: str
) -> None:
    searcher = sweep.searcher
    bad = sweep.suggest("first").lanes[0].trial
    searcher.on_trial_complete("first", error=True)
    names = iter("abcdefgh")
    while (found := searcher.suggest(name := next(names))) != Searcher.FINISHED:
        order: PackOrder = found["order"]
        if bad not in [lane.trial for lane in order.lanes]:
            searcher.on_trial_complete(name, end(order))
        elif error:
            searcher.on_trial_complete(name, broken(order, error))
        else:
            searcher.on_trial_complete(name, error=True)
    assert sweep.states() == [("failed", reason), *[("finished", None)] * 3]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_until_the_books_are_whole(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    recorder, study = sweep.driver.recorder, sweep.driver.study
    monkeypatch.setattr(recorder, "ended", interrupting(recorder.ended, number))
    monkeypatch.setattr(study, "ask", interrupting(study.ask, number))
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            sweep.searcher.suggest("a")
        # Tune never saw this pack, but the books know of it.
        assert sweep.session.counts["waiting"] == sweep.session.counts["asked"] == 2
        (pack,) = sweep.session.packs.values()
        with pytest.raises(KeyboardInterrupt):
            sweep.searcher.on_trial_complete("a", end(pack.order))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert sweep.session.interrupt() == 0
    counts = sweep.session.counts
    assert (counts["finished"], counts["running"], counts["waiting"]) == (2, 0, 0)
    assert sweep.states() == [("finished", None)] * 2


def test_events_of_unknown_trials_are_ignored(sweep: Sweep) -> None:
    sweep.searcher.on_trial_complete("nobody", error=True)
    sweep.searcher.on_trial_complete("nobody", None)
    assert sweep.session.counts["asked"] == 0


def test_tune_may_pickle_it_and_gets_nothing(sweep: Sweep) -> None:
    assert pickle.loads(pickle.dumps(sweep.searcher)).__dict__ == {}  # noqa: S301


def test_packs_are_handed_out_as_long_as_there_is_room_and_those_that_are_not_wanted_are_preempted(
    sweep: Sweep,
) -> None:
    sweep.allotment = Allotment(0, notes=("waits for the cluster",))
    assert sweep.searcher.suggest("a") is None  # nothing is out, and yet this is not the end
    assert sweep.session.notes == ("waits for the cluster",)
    sweep.allotment = Allotment(1)
    order = sweep.begin("a")
    assert sweep.searcher.suggest("b") is None
    sweep.allotment = Allotment(1, preempt=(order.number, 77))
    assert sweep.suggest("b").number == 1  # a pack that leaves takes no room
    assert sweep.keeper.preempted == {0}
    assert (sweep.keeper.ending, sweep.session.packs[0].preempted) == (False, True)


def test_the_first_signal_lets_packs_write_their_checkpoints(sweep: Sweep) -> None:
    with sweep.end:
        orders = [sweep.begin("a"), sweep.suggest("b")]
        signal.raise_signal(signal.SIGTERM)
        assert sweep.searcher.suggest("c") is None
        assert (sweep.keeper.preempted, sweep.keeper.ending) == ({0}, True)  # the other one has no worker
        assert sweep.searcher.suggest("c") is None
        (said,) = sweep.driver.said
        assert said.startswith("ending: packs write their checkpoints, within 20 s")
        waits = [PausedLane(lane.trial, 1, 1.0) for lane in orders[0].lanes]
        sweep.searcher.on_trial_result("a", parcel(report(orders[0], paused=waits)))
        sweep.searcher.on_trial_complete("a", error=True)
        with pytest.raises(KeyboardInterrupt):
            sweep.searcher.suggest("c")
    assert sweep.session.counts["waiting"] == 4
    assert [lane.epoch for lane in sweep.queue.paused()] == [1, 1]


def test_ctrl_c_after_a_signal_and_the_end_of_the_time_break_off(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep.end, "grace_seconds", 1000.0)
    with sweep.end:
        sweep.begin("a")
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert sweep.searcher.suggest("c") is None
        monkeypatch.setattr(sweep.end, "grace_seconds", 0.0)
        with pytest.raises(KeyboardInterrupt):
            sweep.searcher.suggest("c")


def test_while_the_study_cannot_be_written_nothing_is_handed_out_and_this_is_no_end(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(sweep.queue, "next_pack", full)
        assert sweep.searcher.suggest("a") is None
        assert sweep.driver.recorder.disk_fault == "[Errno 28] No space left on device"
    assert sweep.suggest("a").number == 0
