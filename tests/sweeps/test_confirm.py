"""Confirming without Ray: what is trained, kept and skipped."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from supermask.config import TrainConfig
from sweeps import confirm as driver
from sweeps import confirmations
from sweeps.driver.dispatcher import Dispatcher
from sweeps.driver.plan import PackPlan
from sweeps.driver.seeds import fresh_seeds
from sweeps.results import epochs_table
from sweeps.store.paths import SweepPaths
from sweeps.worker.messages import EndedLane, Lane, PackReport
from sweeps.worker.services import WorkerSettings
from tests.sweeps.books import PLACE, StandIn
from tests.sweeps.conftest import States

Row = dict[str, Any]
EndedRow = Callable[..., Row]
WriteSweep = Callable[..., SweepPaths]
MOMENT = datetime(2026, 1, 2, tzinfo=UTC)
METRICS = {"train_loss": 0.1, "val_loss": 0.1, "val_accuracy": 0.9, "inverted": 0.01} | {
    "estimate": 0.89, "standard_error": 0.02
}  # fmt: skip


class Fleet(StandIn):
    """Stands for an executor: trains every lane at once, some of them not to the end."""

    def __init__(self) -> None:
        super().__init__(States())
        self.trained: list[TrainConfig] = []
        self.plan: PackPlan | None = None
        self.fate: Callable[[TrainConfig], str | None] = lambda _: None
        self.reaches = 0
        """Epochs that lanes reach that come to a bad end."""
        self.most_epochs = 10**6
        """Epochs after which every schedule is at its end."""
        self.stop_after = self.dies_at = 10**6
        """Trainings before which, and in which, it is interrupted: in the second case before its end is reported."""

    def train(self, dispatcher: Dispatcher, plan: PackPlan, settings: WorkerSettings, datasets: Any) -> None:
        self.plan = plan
        while not dispatcher.is_done:
            order = dispatcher.next_order()
            assert order is not None
            assert order.rivals is None  # nobody wants these networks
            dispatcher.take(PackReport(pack=order.number, place=replace(PLACE, started=MOMENT)))
            for lane in order.lanes:
                if len(self.trained) == self.stop_after:
                    raise KeyboardInterrupt
                self.trained.append(lane.config)
                reached = self.reaches if self.fate(lane.config) else min(lane.config.epochs, self.most_epochs)
                rows = [self._epoch(lane, epoch) for epoch in range(1, reached + 1)]
                dispatcher.take(PackReport(pack=order.number, epochs=epochs_table(rows), epoch=reached))
                if len(self.trained) != self.dies_at:
                    dispatcher.take(PackReport(pack=order.number, ended=(self._ended(lane, reached),)))
                else:
                    raise KeyboardInterrupt
            dispatcher.close(order.number)

    def _epoch(self, lane: Lane, epoch: int) -> Row:
        tested = epoch in lane.tested or epoch == lane.config.epochs
        test = {"test_accuracy": accuracy(lane.config.seed, epoch), "test_loss": 0.2} if tested else {}
        known = {"trial": lane.trial, "attempt": lane.attempt, "epoch": epoch, "seconds": 0.5, "ended": MOMENT}
        return known | METRICS | test | {"remaining": 0.5 / epoch}

    def _ended(self, lane: Lane, epochs: int) -> EndedLane:
        reason = self.fate(lane.config)
        return EndedLane(
            trial=lane.trial,
            attempt=lane.attempt,
            state="failed" if reason else "finished",
            reason=reason,
            epochs_done=epochs,
            **METRICS,
            remaining=0.02,
            layers=(),
            test_loss=None if reason else 0.2,
            test_accuracy=None if reason else accuracy(lane.config.seed, epochs),
            ended=MOMENT,
            seconds=1.0,
        )


def accuracy(seed: int, epoch: int) -> float:
    return 0.8 + seed % 100 / 1000 + epoch / 100


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Fleet:
    made = Fleet()

    @contextmanager
    def executing(*_: Any) -> Iterator[Fleet]:
        yield made

    monkeypatch.setattr(driver, "executing", executing)
    return made


@pytest.fixture
def sweep(sweeps: Any, ended_row: EndedRow, write_sweep: WriteSweep) -> SweepPaths:
    """Trials 0 to 3 are the front, each after its first epoch, as the second brings nothing; 4 failed at once."""
    rows = [ended_row(trial, learning_rate=1 / (3 + trial)) for trial in range(4)]
    return write_sweep(sweeps.folder / "sweeps-out", [*rows, ended_row(4, "failed", epochs_done=0)])


def kept(paths: SweepPaths) -> list[Row]:
    return confirmations.load(paths.confirm).to_pylist()


def keys(paths: SweepPaths) -> list[tuple[int, int, int]]:
    return [(row["trial"], row["epoch"], row["seed_index"]) for row in kept(paths)]


def test_every_chosen_network_gets_the_same_fresh_seeds_and_keeps_the_rest(
    sweeps: Any, sweep: SweepPaths, fleet: Fleet, ended_row: EndedRow
) -> None:
    done = sweeps("confirm", "small", "--select", "2@2,0@2", "--seeds", "3", "--json")
    assert done.code == 0, done.err
    assert keys(sweep) == [(0, 2, 0), (0, 2, 1), (0, 2, 2), (2, 2, 0), (2, 2, 1), (2, 2, 2)]
    for row in kept(sweep):
        expected = ended_row(row["trial"], learning_rate=1 / (3 + row["trial"]))
        found = {name: row[name] for name in TrainConfig().to_dict()}
        assert found == {name: expected[name] for name in found} | {"seed": fresh_seeds(3, ())[row["seed_index"]]}
        assert (row["state"], row["epochs_done"], row["started"], row["ended"]) == ("finished", 2, MOMENT, MOMENT)
        assert (row["host"], row["seconds"], row["estimate"], row["standard_error"]) == ("node7", 1.0, 0.89, 0.02)
    records = json.loads(done.out)
    names = {"trial", "epoch", "seeds", "test_accuracy", "val_accuracy", "remaining"}
    assert [set(record) for record in records] == [names] * 2
    assert [(record["trial"], record["epoch"], record["seeds"]) for record in records] == [(0, 2, 3), (2, 2, 3)]
    assert sweep.confirmed_png.exists()
    assert list(sweep.folder.rglob(".tmp-*")) == []


def test_one_training_gives_all_networks_of_a_trial_and_of_those_there_none_again(
    sweeps: Any, sweep: SweepPaths, fleet: Fleet
) -> None:
    done = sweeps("confirm", "small", "--select", "1@1,1@2,0@1", "--seeds", "2", "--json")
    assert "confirm small: 4 trainings to do, which give 6 networks, up to " in done.err
    assert sorted(config.epochs for config in fleet.trained) == [1, 1, 2, 2]
    assert keys(sweep) == [(trial, epoch, seed) for trial, epoch in ((0, 1), (1, 1), (1, 2)) for seed in (0, 1)]
    for row in kept(sweep):
        assert row["test_accuracy"] == accuracy(row["seed"], row["epoch"])
        assert (row["epochs"], row["epochs_done"], row["seconds"]) == (row["epoch"], row["epoch"], 0.5 * row["epoch"])
        assert row["remaining"] == 0.5 / row["epoch"]
    assert {(one["trial"], one["epoch"]): one["remaining"]["mean"] for one in json.loads(done.out)} == {
        (0, 1): 0.5, (1, 1): 0.5, (1, 2): 0.25,
    }  # fmt: skip
    more = sweeps("confirm", "small", "--select", "0@1,0@2", "--seeds", "2")
    assert "confirm small: 2 trainings to do, which give 2 networks, up to " in more.err
    assert [config.epochs for config in fleet.trained[4:]] == [2, 2]


def test_a_trial_alone_stands_for_its_network_on_the_front_or_its_last(
    sweeps: Any, fleet: Fleet, ended_row: EndedRow, write_sweep: WriteSweep
) -> None:
    rows = [ended_row(0), ended_row(1, val_accuracy=0.5, remaining=0.9), ended_row(2, "running", epochs_done=1)]
    paths = write_sweep(sweeps.folder / "sweeps-out", rows)
    assert sweeps("confirm", "small", "--select", "2,1,0", "--seeds", "1").code == 0
    assert keys(paths) == [(0, 1, 0), (1, 2, 0), (2, 1, 0)]


def test_the_front_is_the_default_and_ten_seeds(sweeps: Any, sweep: SweepPaths, fleet: Fleet) -> None:
    assert sweeps("confirm", "small").code == 0
    assert keys(sweep) == [(trial, 1, seed) for trial in range(4) for seed in range(10)]
    assert fleet.plan is not None
    assert (fleet.plan.lanes, fleet.plan.concurrent) == (16, 2)


def test_what_is_there_is_not_trained_again_and_more_seeds_add_to_it(
    sweeps: Any, sweep: SweepPaths, fleet: Fleet
) -> None:
    first = sweeps("confirm", "small", "--seeds", "2", "--json")
    before = kept(sweep)
    assert sweeps("confirm", "small", "--seeds", "2", "--json").out == first.out
    assert len(fleet.trained) == 8
    more = sweeps("confirm", "small", "--seeds", "5", "--json")
    assert [config.seed for config in fleet.trained[8:]] == [seed for seed in fresh_seeds(5, ())[2:] for _ in range(4)]
    assert [record["seeds"] for record in json.loads(more.out)] == [5] * 4
    assert [row for row in kept(sweep) if row["seed_index"] < 2] == before
    fewer = sweeps("confirm", "small", "--seeds", "2", "--select", "3,2@1,1,0", "--json")
    assert fewer.out == first.out
    assert "12 networks with further seeds there, not counted here: ask for more --seeds" in fewer.err
    assert len(fleet.trained) == 20


def test_after_an_interrupt_the_same_command_goes_on(sweeps: Any, sweep: SweepPaths, fleet: Fleet) -> None:
    fleet.stop_after = 5
    done = sweeps("confirm", "small", "--seeds", "2", "--lanes", "2")
    assert (done.code, done.out) == (130, "")
    assert done.err.splitlines()[-1] == (
        f"interrupted; what has ended is kept in {sweep.confirm}. The same command goes on."
    )
    assert len(kept(sweep)) == 5
    fleet.stop_after = 10**6
    assert sweeps("confirm", "small", "--seeds", "2").code == 0
    assert len(fleet.trained) == 8
    assert keys(sweep) == [(trial, 1, seed) for trial in range(4) for seed in (0, 1)]


def test_what_was_measured_before_an_interrupt_is_not_measured_again(
    sweeps: Any, sweep: SweepPaths, fleet: Fleet
) -> None:
    fleet.dies_at = 2
    assert sweeps("confirm", "small", "--select", "1@1,1@2", "--seeds", "2", "--lanes", "2").code == 130
    assert keys(sweep) == [(1, 1, 0), (1, 1, 1), (1, 2, 0), (1, 2, 1)]
    fleet.dies_at = 10**6
    assert sweeps("confirm", "small", "--select", "1@1,1@2", "--seeds", "2").code == 0
    assert len(fleet.trained) == 2


def test_networks_before_a_bad_end_stay_and_those_behind_it_failed(
    sweeps: Any, sweep: SweepPaths, fleet: Fleet
) -> None:
    fleet.fate, fleet.reaches = lambda _: "the worker process died: RayActorError", 1
    done = sweeps("confirm", "small", "--select", "1@1,1@2", "--seeds", "1", "--json")
    assert done.code == 0
    assert "network 1@2: 1 of 1 seeds failed (the worker process died); they count in no mean" in done.err
    first, second = kept(sweep)
    assert (first["epoch"], first["state"], first["epochs_done"]) == (1, "finished", 1)
    assert (second["epoch"], second["epochs"], second["state"], second["epochs_done"]) == (2, 2, "failed", 1)
    assert second["reason"] == "the worker process died: RayActorError"
    assert {second[name] for name in ("val_accuracy", "remaining", "test_accuracy", "estimate")} == {None}
    fleet.fate = lambda _: None
    assert sweeps("confirm", "small", "--select", "1@1,1@2", "--seeds", "1").code == 0
    assert [config.epochs for config in fleet.trained] == [2, 2]
    assert [row["state"] for row in kept(sweep)] == ["finished", "finished"]


def test_a_schedule_that_ends_early_gives_the_networks_that_it_leaves_out(
    sweeps: Any, sweep: SweepPaths, fleet: Fleet
) -> None:
    fleet.most_epochs = 1
    assert sweeps("confirm", "small", "--select", "1@2", "--seeds", "1").code == 0
    (row,) = kept(sweep)
    assert (row["epoch"], row["epochs"], row["epochs_done"], row["state"]) == (2, 2, 1, "finished")
    assert row["test_accuracy"] == accuracy(row["seed"], 1)


def test_a_diverged_seed_stays_and_a_lost_one_is_trained_again(sweeps: Any, sweep: SweepPaths, fleet: Fleet) -> None:
    first, second, _ = fresh_seeds(3, ())
    reasons = {first: "diverged: val_loss is nan after epoch 1", second: "the worker process died: RayActorError"}
    fleet.fate = lambda config: reasons.get(config.seed)
    done = sweeps("confirm", "small", "--select", "1", "--seeds", "3", "--json")
    assert json.loads(done.out)[0]["seeds"] == 1
    assert "network 1@1: 2 of 3 seeds failed (diverged, the worker process died); they count in no mean" in done.err
    assert [(row["state"], row["reason"], row["epochs_done"]) for row in kept(sweep)[:2]] == [
        ("failed", reason, 0) for reason in reasons.values()
    ]
    fleet.fate = lambda _: None
    again = sweeps("confirm", "small", "--select", "1", "--seeds", "3", "--json")
    assert json.loads(again.out)[0]["seeds"] == 2
    assert [config.seed for config in fleet.trained[3:]] == [second]


def test_when_nothing_finishes_the_work_failed(sweeps: Any, sweep: SweepPaths, fleet: Fleet) -> None:
    fleet.fate = lambda _: "diverged: val_loss is nan after epoch 1"
    done = sweeps("confirm", "small", "--select", "1", "--seeds", "2")
    assert done.code == 1
    assert done.err.endswith("no training finished: see the reasons above.\n")
    assert not sweep.confirmed_png.exists()


def test_a_mirror_without_the_runs_is_said_and_costs_nothing(sweeps: Any, sweep: SweepPaths, fleet: Fleet) -> None:
    done = sweeps("confirm", "small", "--select", "0,1", "--seeds", "1", "--json")
    assert done.code == 0
    assert "not in MLflow yet: no run of network 0@1, 1@1. Add it later: sweeps mlflow-sync small\n" in done.err
    assert not (sweep.root / "mlflow.db").exists()


def test_a_dead_mirror_does_not_fail_it(sweeps: Any, sweep: SweepPaths, fleet: Fleet) -> None:
    options = ["--select", "0", "--seeds", "1", "--tracking-uri", "http://me:secret@127.0.0.1:1"]
    done = sweeps("confirm", "small", *options)
    assert done.code == 0
    assert "not in MLflow yet: request to MLflow at http://***@127.0.0.1:1 failed: " in done.err
    assert "secret" not in done.err
    assert len(kept(sweep)) == 1


HOLD = """
import sys, time
from pathlib import Path
from sweeps.store import lease
with lease.hold(Path(sys.argv[1]), what="test"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_only_one_may_confirm_at_a_time_and_a_killed_one_leaves_no_lock(
    sweeps: Any, sweep: SweepPaths, fleet: Fleet
) -> None:
    command = [sys.executable, "-c", HOLD, str(sweep.confirm / "sessions")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        done = sweeps("confirm", "small")
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(
            f"sweeps confirm small: only one process may work on it, but process {other.pid} on {os.uname().nodename} "
            "(since "
        )
        assert done.err.endswith(" UTC) does. Wait for it, or stop it with SIGINT.\n")
        other.kill()
    assert sweeps("confirm", "small", "--seeds", "1").code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--select", "fornt"], "--select: must be front, knee, best:accuracy>=X, best:remaining<=X with X in [0, 1]"),
        (["--select", "4,9"], "--select 4,9: every trial must be one of the sweep with a trained epoch, but 4 is not."),
        (
            ["--select", "3@7"],
            "--select 3@7: the epoch must be one that the trial was trained for, but 3 has no epoch 7",
        ),
        (["--select", "best:accuracy>=0.99"], "there must be a network that keeps to val_accuracy >= 0.99"),
        (["--lanes", "0"], "--lanes: must be a whole number from 1 or auto, but got '0'."),
        (["--seeds", "0"], "Invalid value for '--seeds'"),
    ],
)
def test_a_wrong_option_leaves_nothing(sweeps: Any, sweep: SweepPaths, options: list[str], message: str) -> None:
    before = sweeps.files()
    done = sweeps("confirm", "small", *options)
    assert message in done.err
    assert (done.code, done.out) == (2, "")
    assert sweeps.files() == before
