"""A driver that is led by hand: a real study, real Parquet files, and stand-ins for MLflow and for workers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from search_spaces.space import SearchSpace
from sweeps import results
from sweeps.driver.dispatcher import Dispatcher
from sweeps.driver.opening import open_session
from sweeps.driver.plan import PackPlan, Resources
from sweeps.driver.sharing import MachineShare
from sweeps.search.study import SweepStudy
from sweeps.search.study_place import place_of
from sweeps.signals import GRACE_SECONDS, OrderlyEnd
from sweeps.store import lease
from sweeps.store.paths import SweepPaths
from sweeps.worker.messages import EndedLane, PackOrder, PackReport, PausedLane, Place
from sweeps.worker.services import WorkerSettings

BEGAN = datetime(2026, 5, 4, 12, tzinfo=UTC)
PLACE = Place("node7", "cpu", "float32", BEGAN, classes=10, node="abcd")
FINAL: dict[str, Any] = {
    "train_loss": 0.3,
    "val_loss": 0.4,
    "val_accuracy": 0.8,
    "estimate": 0.79,
    "standard_error": 0.01,
    "remaining": 0.2,
    "inverted": 0.1,
}
Row = dict[str, Any]


class StandIn:
    """Stands for an executor: its packs report what a test says.

    Args:
        checkpoints: Stands for the checkpoint store.
        share: What the session may use; a machine of its own unless given.
    """

    resources = Resources(cpus=2, gpus=0)

    def __init__(self, checkpoints: Any, share: Any = None) -> None:
        self._checkpoints, self._share = checkpoints, share

    def call(self, *_: Any, **__: Any) -> None:
        return None

    def start_store(self, folder: Path, *, name: str) -> Any:
        return self._checkpoints

    def start_judge(self, paths: SweepPaths, space: SearchSpace) -> None:
        """Nobody is stopped."""

    def share(self, plan: PackPlan, queue: Any, *, most: int | None) -> Any:
        return self._share or MachineShare(plan)

    def train(self, dispatcher: Dispatcher, plan: PackPlan, settings: WorkerSettings, datasets: Any) -> None:
        raise NotImplementedError

    def is_lost(self) -> bool:
        return False


@dataclass
class Driver:
    """One session over a folder."""

    paths: SweepPaths
    space: SearchSpace
    mirror: Any
    keeper: Any
    lanes: int = 3
    share: Any = None

    def __post_init__(self) -> None:
        self.paths.folder.mkdir(exist_ok=True)
        self.lease = lease.take(self.paths.sessions, what="sweep small")
        self.said = list[str]()
        self.end = OrderlyEnd(GRACE_SECONDS, self.said.append)
        opened = open_session(
            self.paths,
            self.space,
            StandIn(self.keeper, self.share),
            plan=PackPlan(self.lanes, 1, 0, 10**6, "as asked"),
            place=place_of(self.paths),
            lease=self.lease,
            mirror=self.mirror,
            end=self.end,
            commit="abc",
            seconds=100.0,
        )
        self.study, self.queue, self.session = opened.study, opened.queue, opened.session
        self.recorder, self.dispatcher, self.close = opened.recorder, opened.dispatcher, opened.close

    def hand_out(self) -> PackOrder:
        """Hands a pack out; it waits for a worker."""
        order = self.queue.next_pack()
        assert order is not None
        self.session.start(order)
        return order

    def start(self) -> PackOrder:
        """Hands a pack out to a worker that begins at once."""
        order = self.hand_out()
        self.session.report(PackReport(pack=order.number, place=PLACE))
        return order

    def rows(self) -> list[Row]:
        """What is in Parquet when all that was reported has been dealt with."""
        self.recorder.wait()
        return self.written()

    def written(self) -> list[Row]:
        """What is in Parquet now."""
        return results.load(self.paths.root, self.paths.name, every_attempt=True).to_pylist()

    def states(self) -> list[str]:
        """How the study says the trials ended, read from its file."""
        self.recorder.wait()
        return [trial.state for trial in SweepStudy(self.space, self.paths.journal).trials()]


def report(
    order: PackOrder,
    *,
    epochs: Iterable[Row] = (),
    ended: Iterable[EndedLane] = (),
    paused: Iterable[PausedLane] = (),
    **parts: Any,
) -> PackReport:
    table = results.epochs_table(epochs)
    latest = max(table.column("epoch").to_pylist(), default=0)
    reached: Mapping[str, Any] = {"epochs": table, "epoch": latest, "ended": tuple(ended), "paused": tuple(paused)}
    return PackReport(pack=order.number, **reached, **parts)


def epoch(order: PackOrder, lane: int, number: int) -> Row:
    found = order.lanes[lane]
    return {"trial": found.trial, "attempt": found.attempt, "epoch": number, **FINAL, "seconds": 0.5}


def ended(order: PackOrder, lane: int, state: str = "finished", reason: str | None = None) -> EndedLane:
    found = order.lanes[lane]
    return EndedLane(
        trial=found.trial,
        attempt=found.attempt,
        state=state,
        reason=reason,
        epochs_done=2,
        **FINAL,
        layers=(),
        test_loss=0.5,
        test_accuracy=0.75,
        ended=datetime.now(UTC),
        seconds=1.5,
    )


def finished(order: PackOrder) -> PackReport:
    """The report of a pack that trains all its lanes to the end."""
    lanes = range(len(order.lanes))
    epochs = [epoch(order, lane, number) for number in (1, 2) for lane in lanes]
    return report(order, epochs=epochs, ended=[ended(order, lane) for lane in lanes], done=True)


def finish(driver: Driver, order: PackOrder) -> None:
    """A pack that trains all its lanes to the end."""
    driver.session.report(finished(order))
    driver.session.close_pack(order.number, "the worker process died")
