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
from sweeps.confirm import trainings
from sweeps.driver.dispatcher import Dispatcher
from sweeps.driver.plan import PackPlan
from sweeps.driver.seeds import fresh_seeds
from sweeps.store.paths import SweepPaths
from sweeps.worker.messages import EndedLane, Lane, PackReport
from sweeps.worker.services import WorkerSettings
from tests.sweeps.books import PLACE, StandIn
from tests.sweeps.conftest import States

Row = dict[str, Any]
EndedRow = Callable[..., Row]
WriteSweep = Callable[..., SweepPaths]
MOMENT = datetime(2026, 1, 2, tzinfo=UTC)


class Fleet(StandIn):
    """Stands for an executor: ends every lane at once, some of them as told."""

    def __init__(self) -> None:
        super().__init__(States())
        self.trained: list[TrainConfig] = []
        self.plan: PackPlan | None = None
        self.fate: Callable[[TrainConfig], str | None] = lambda _: None
        self.stop_after = 10**6

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
                dispatcher.take(PackReport(pack=order.number, ended=(self._ended(lane),)))
            dispatcher.close(order.number)

    def _ended(self, lane: Lane) -> EndedLane:
        reason = self.fate(lane.config)
        accuracy = 0.9 + lane.config.seed % 100 / 1000
        return EndedLane(
            trial=lane.trial,
            attempt=lane.attempt,
            state="failed" if reason else "finished",
            reason=reason,
            epochs_done=0 if reason else 2,
            val_accuracy=0.9,
            val_loss=0.1,
            train_loss=0.1,
            remaining=0.02,
            inverted=0.01,
            layers=(),
            test_loss=None if reason else 0.2,
            test_accuracy=None if reason else accuracy,
            ended=MOMENT,
            seconds=1.0,
        )


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
    """Trials 0 to 3 are the front; 4 failed."""
    rows = [ended_row(trial, learning_rate=1 / (3 + trial)) for trial in range(4)]
    return write_sweep(sweeps.folder / "sweeps-out", [*rows, ended_row(4, "failed")])


def kept(paths: SweepPaths) -> list[Row]:
    return confirmations.load(paths.confirm).to_pylist()


def keys(paths: SweepPaths) -> list[tuple[int, int]]:
    return [(row["trial"], row["seed_index"]) for row in kept(paths)]


def test_every_chosen_trial_gets_the_same_fresh_seeds_and_keeps_the_rest(
    sweeps: Any, sweep: SweepPaths, fleet: Fleet, ended_row: EndedRow
) -> None:
    done = sweeps("confirm", "small", "--select", "2,0", "--seeds", "3", "--json")
    assert done.code == 0, done.err
    assert keys(sweep) == [(0, 0), (0, 1), (0, 2), (2, 0), (2, 1), (2, 2)]
    for row in kept(sweep):
        expected = ended_row(row["trial"], learning_rate=1 / (3 + row["trial"]))
        found = {name: row[name] for name in TrainConfig().to_dict()}
        assert found == {name: expected[name] for name in found} | {"seed": fresh_seeds(3, ())[row["seed_index"]]}
        assert (row["state"], row["epochs_done"], row["started"], row["ended"]) == ("finished", 2, MOMENT, MOMENT)
    records = json.loads(done.out)
    assert [set(record) for record in records] == [{"trial", "seeds", "test_accuracy", "remaining"}] * 2
    assert [(record["trial"], record["seeds"]) for record in records] == [(0, 3), (2, 3)]
    assert sweep.confirmed_png.exists()
    assert list(sweep.folder.rglob(".tmp-*")) == []


def test_trainings_come_seed_by_seed_and_columns_of_older_versions_have_defaults(ended_row: EndedRow) -> None:
    rows = [ended_row(1) | {"momentum": None}, ended_row(0)]
    made = trainings(rows, [70, 71])
    assert [(one.trial, one.seed_index, one.config.seed) for one in made] == [
        (1, 0, 70), (0, 0, 70), (1, 1, 71), (0, 1, 71),
    ]  # fmt: skip
    assert made[0].config.momentum == TrainConfig().momentum
    assert made[0].config.data_seed == ended_row(1)["data_seed"]


def test_the_front_is_the_default_and_ten_seeds(sweeps: Any, sweep: SweepPaths, fleet: Fleet) -> None:
    assert sweeps("confirm", "small").code == 0
    assert keys(sweep) == [(trial, seed) for trial in range(4) for seed in range(10)]
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
    fewer = sweeps("confirm", "small", "--seeds", "2", "--select", "3,2,1,0", "--json")
    assert fewer.out == first.out
    assert "12 trainings with further seeds there, not counted here: ask for more --seeds" in fewer.err
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
    assert keys(sweep) == [(trial, seed) for trial in range(4) for seed in (0, 1)]


def test_a_diverged_seed_stays_and_a_lost_one_is_trained_again(sweeps: Any, sweep: SweepPaths, fleet: Fleet) -> None:
    first, second, _ = fresh_seeds(3, ())
    reasons = {first: "diverged: val_loss is nan after epoch 1", second: "the worker process died: RayActorError"}
    fleet.fate = lambda config: reasons.get(config.seed)
    done = sweeps("confirm", "small", "--select", "1", "--seeds", "3", "--json")
    assert json.loads(done.out)[0]["seeds"] == 1
    assert "trial 1: 2 of 3 seeds failed (diverged, the worker process died); they count in no mean" in done.err
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
    assert (
        "not in MLflow yet: no run of network 0@2, 1@2 that has ended. Add it later: sweeps mlflow-sync small\n"
        in done.err
    )
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
        (["--select", "4,9"], "--select 4,9: every trial must be a finished trial of the sweep, but 4, 9 are not."),
        (["--select", "best:accuracy>=0.99"], "there must be a finished trial that keeps to val_accuracy >= 0.99"),
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
