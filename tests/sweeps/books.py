"""The books of a driver, kept by hand: a real study, real Parquet files, and a stand-in for MLflow."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from search_spaces.space import SearchSpace
from sweeps import results
from sweeps.driver.leaders import Leaders
from sweeps.driver.queue import PackOrder, TrialQueue
from sweeps.driver.session import Session
from sweeps.results import ResultsWriter
from sweeps.search.study import SweepStudy
from sweeps.store import lease
from sweeps.store.masks import MaskStore
from sweeps.store.paths import SweepPaths
from sweeps.worker.reporting import nothing_of

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
        held = lease.take(self.paths.sessions, what="sweep small")
        self.study = SweepStudy(self.space, self.paths.journal, check=held.check)
        self.queue = TrialQueue(self.study, trials=self.space.trials, lanes=3)
        self.session = Session(
            self.paths,
            self.queue,
            self.study,
            ResultsWriter(self.paths.folder, check=held.check),
            self.mirror,
            lease=held,
            masks=MaskStore(self.paths, self.space, []),
            states=self.keeper,
            leaders=Leaders(self.space.objectives),
            commit="abc",
            ended={"finished": 0},
            seconds=100.0,
        )

    def hand_out(self) -> PackOrder:
        """Hands a pack out; it waits for a worker."""
        order = self.queue.next_pack()
        assert order is not None
        self.session.start(order)
        return order

    def start(self) -> PackOrder:
        """Hands a pack out to a worker that begins at once."""
        order = self.hand_out()
        self.session.report(nothing_of(order.number) | {"started": [PLACE | {"node": "abcd"}]})
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


def report(order: PackOrder, *, epochs: Iterable[Row] = (), **parts: list[Row]) -> Row:
    table = results.epochs_table(epochs)
    reached = {
        "epochs": table,
        "trials": table.column("trial").to_pylist(),
        "epoch": max(table.column("epoch").to_pylist(), default=0),
    }
    return nothing_of(order.number) | reached | parts


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
    driver.session.report(report(order, epochs=epochs, ended=[ended(order, lane) for lane in lanes]))
    driver.session.close_pack(order.number, "the worker process died")
