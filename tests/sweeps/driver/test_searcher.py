"""The searcher, called as Tune calls it, over a real queue and real books."""

import os
import pickle
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from search_spaces.space import SearchSpace
from supermask.config import TrainConfig
from sweeps import results
from sweeps.driver.leaders import Leaders
from sweeps.driver.queue import TrialQueue
from sweeps.driver.searcher import PackSearcher
from sweeps.driver.session import Session
from sweeps.driver.sharing import Allotment
from sweeps.results import ResultsWriter
from sweeps.search.study import SweepStudy
from sweeps.signals import OrderlyEnd
from sweeps.store import lease
from sweeps.store.masks import MaskStore
from sweeps.store.paths import SweepPaths
from sweeps.worker.reporting import nothing_of

Row = dict[str, Any]
FINAL = {"train_loss": 0.3, "val_loss": 0.4, "val_accuracy": 0.8, "remaining": 0.2, "inverted": 0.1}


@dataclass
class Sweep:
    """A searcher and all it works on."""

    root: Path
    space: SearchSpace
    mirror: Any
    keeper: Any
    searcher: PackSearcher = field(init=False)
    allotment: Allotment = field(default_factory=lambda: Allotment(10**6))
    said: list[str] = field(default_factory=list)

    def look(self, packs: Any) -> Allotment:  # noqa: ARG002
        """What the searcher may do."""
        return self.allotment

    def __post_init__(self) -> None:
        paths = SweepPaths(self.root, self.space.name)
        paths.folder.mkdir()
        self.study = SweepStudy(self.space, paths.journal)
        self.queue = TrialQueue(self.study, trials=self.space.trials, lanes=2)
        masks = MaskStore(paths, self.space, [])
        self.session = Session(
            paths,
            self.queue,
            self.study,
            ResultsWriter(paths.folder),
            self.mirror,
            lease=lease.take(paths.sessions, what="sweep small"),
            masks=masks,
            states=self.keeper,
            leaders=Leaders(self.space.objectives),
            commit=None,
            ended={},
            seconds=0.0,
        )
        self.end = OrderlyEnd(1000.0, self.said.append)
        self.searcher = PackSearcher(
            self.queue,
            self.session,
            masks,
            cpus=3,
            gpus=0.5,
            objectives={"val_accuracy": "maximize", "remaining": "minimize"},
            share=self,
            end=self.end,
        )

    def states(self) -> list[tuple[str, str | None]]:
        """State and reason of every ended trial, from Parquet."""
        self.session.recorder.wait()
        rows = results.load(self.root, self.space.name).to_pylist()
        return [(row["state"], row["reason"]) for row in rows]


@pytest.fixture
def sweep(tmp_path: Path, small_space: Callable[..., SearchSpace], mirror: Any, states: Any) -> Iterator[Sweep]:
    found = Sweep(tmp_path, small_space(trials=4), mirror, states)
    yield found
    found.session.recorder.stop()


def report(pack: Row, *, error: str | None = None) -> Row:
    """All lanes of a pack have finished, or it broke with `error`."""
    ended = [
        {"trial": lane["trial"], "attempt": lane["attempt"], "state": "finished", "reason": None, "epochs_done": 2}
        | FINAL
        | {"test_loss": 0.5, "test_accuracy": 0.75, "ended": None, "seconds": 1.0}
        for lane in pack["lanes"]
    ]
    ended = [] if error else ended
    return nothing_of(pack["pack"]) | {"started": [{"node": "n"}], "ended": ended, "error": error}


def interrupting(step: Callable[..., Any], number: signal.Signals) -> Callable[..., Any]:
    """A step of the books in the middle of which somebody presses Ctrl-C, again and again."""

    def wrapped(*arguments: Any) -> Any:
        os.kill(os.getpid(), number)
        return step(*arguments)

    return wrapped


def test_a_suggestion_is_a_whole_pack(sweep: Sweep) -> None:
    pack = sweep.searcher.suggest("a")
    assert {name: pack[name] for name in ("pack", "cpus", "gpus", "rivals")} == {
        "pack": 0, "cpus": 3, "gpus": 0.5, "rivals": [],
    }  # fmt: skip
    assert pack["objectives"] == [["val_accuracy", "maximize"], ["remaining", "minimize"]]
    assert [(lane["trial"], lane["attempt"]) for lane in pack["lanes"]] == [(0, 1), (1, 1)]
    asked = sweep.study.open_trials()
    assert [TrainConfig.from_dict(lane["config"]) for lane in pack["lanes"]] == [trial.config for trial in asked]


def test_when_nothing_is_left_tune_waits_for_packs_in_training_and_then_ends(sweep: Sweep) -> None:
    searcher = sweep.searcher
    packs = [searcher.suggest(name) for name in ("a", "b")]
    assert searcher.suggest("c") is None
    searcher.on_trial_result("a", report(packs[0]))
    searcher.on_trial_complete("a")
    assert searcher.suggest("c") is None
    # Tune gives the last report of a pack to on_trial_complete alone.
    searcher.on_trial_complete("b", report(packs[1]))
    assert searcher.suggest("c") == Searcher.FINISHED
    assert sweep.states() == [("finished", None)] * 4


def test_trials_of_a_worker_that_died_are_handed_out_again_before_the_end(sweep: Sweep) -> None:
    searcher = sweep.searcher
    packs = [searcher.suggest(name) for name in ("a", "b")]
    searcher.on_trial_complete("b", report(packs[1]))
    searcher.on_trial_complete("a", error=True)
    again = [searcher.suggest(name) for name in ("c", "d")]
    assert [[(lane["trial"], lane["attempt"]) for lane in pack["lanes"]] for pack in again] == [[(0, 2)], [(1, 2)]]
    for name, pack in zip(("c", "d"), again, strict=True):
        searcher.on_trial_complete(name, report(pack))
    assert searcher.suggest("e") == Searcher.FINISHED
    assert sweep.states() == [("finished", None)] * 4


def test_a_dead_workers_last_result_is_not_taken_twice(sweep: Sweep) -> None:
    pack = sweep.searcher.suggest("a")
    sweep.searcher.on_trial_complete("a", report(pack), error=True)
    assert sweep.states() == []
    assert sweep.session.counts["waiting"] == 2


@pytest.mark.parametrize(
    ("error", "reason"), [("RuntimeError: bang", "RuntimeError: bang"), (None, "the worker process died")]
)
def test_a_trial_that_breaks_alone_fails_with_what_its_worker_said(
    sweep: Sweep, error: str | None, reason: str
) -> None:
    searcher = sweep.searcher
    bad = searcher.suggest("first")["lanes"][0]["trial"]
    searcher.on_trial_complete("first", error=True)
    names = iter("abcdefgh")
    while (pack := searcher.suggest(name := next(names))) != Searcher.FINISHED:
        if bad not in [lane["trial"] for lane in pack["lanes"]]:
            searcher.on_trial_complete(name, report(pack))
        elif error:
            searcher.on_trial_complete(name, report(pack, error=error))
        else:
            searcher.on_trial_complete(name, error=True)
    assert sweep.states() == [("failed", reason), *[("finished", None)] * 3]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_until_the_books_are_whole(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    recorder = sweep.session.recorder
    monkeypatch.setattr(recorder, "ended", interrupting(recorder.ended, number))
    monkeypatch.setattr(sweep.study, "ask", interrupting(sweep.study.ask, number))
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            sweep.searcher.suggest("a")
        # Tune never saw this pack, but the books know of it.
        assert sweep.session.counts["waiting"] == sweep.session.counts["asked"] == 2
        (pack,) = sweep.session.packs.values()
        lanes = [{"trial": lane.trial, "attempt": lane.attempt} for lane in pack.order.lanes]
        with pytest.raises(KeyboardInterrupt):
            sweep.searcher.on_trial_complete("a", report({"pack": 0, "lanes": lanes}))
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


def begin(sweep: Sweep, name: str) -> Row:
    """A pack that a worker has taken."""
    pack = sweep.searcher.suggest(name)
    sweep.searcher.on_trial_result(name, nothing_of(pack["pack"]) | {"started": [{"node": "n"}]})
    return pack


def test_packs_are_handed_out_as_long_as_there_is_room_and_those_that_are_not_wanted_are_preempted(
    sweep: Sweep,
) -> None:
    sweep.allotment = Allotment(0, notes=("waits for the cluster",))
    assert sweep.searcher.suggest("a") is None  # nothing is out, and yet this is not the end
    assert sweep.session.notes == ("waits for the cluster",)
    sweep.allotment = Allotment(1)
    pack = begin(sweep, "a")
    assert sweep.searcher.suggest("b") is None
    sweep.allotment = Allotment(1, preempt=(pack["pack"], 77))
    assert sweep.searcher.suggest("b") is not None  # a pack that leaves takes no room
    assert sweep.keeper.preempted == {0}
    assert (sweep.keeper.ending, sweep.session.packs[0].preempted) == (False, True)


def test_the_first_signal_lets_packs_write_their_checkpoints(sweep: Sweep) -> None:
    with sweep.end:
        packs = [begin(sweep, "a"), sweep.searcher.suggest("b")]
        signal.raise_signal(signal.SIGTERM)
        assert sweep.searcher.suggest("c") is None
        assert (sweep.keeper.preempted, sweep.keeper.ending) == ({0}, True)  # the other one has no worker
        assert sweep.searcher.suggest("c") is None
        (said,) = sweep.said
        assert said.startswith("ending: packs write their checkpoints, within 1000 s")
        waits = [{"trial": lane["trial"], "epoch": 1, "seconds": 1.0} for lane in packs[0]["lanes"]]
        sweep.searcher.on_trial_result("a", nothing_of(0) | {"paused": waits})
        sweep.searcher.on_trial_complete("a", error=True)
        with pytest.raises(KeyboardInterrupt):
            sweep.searcher.suggest("c")
    assert sweep.session.counts["waiting"] == 4
    assert [lane.epoch for lane in sweep.queue.paused()] == [1, 1]


def test_ctrl_c_after_a_signal_and_the_end_of_the_time_break_off(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    with sweep.end:
        begin(sweep, "a")
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert sweep.searcher.suggest("c") is None
        monkeypatch.setattr(sweep.end, "grace_seconds", 0.0)
        with pytest.raises(KeyboardInterrupt):
            sweep.searcher.suggest("c")
