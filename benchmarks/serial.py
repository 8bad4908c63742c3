"""Sweeps in this process, pack after pack, that end when a number of epochs has been trained.

They are a real sweep's study, rungs, queue and workers.
"""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from benchmarks.record import Row
from search_spaces.space import SearchSpace
from supermask.config import TrainConfig
from supermask.data import Dataset
from supermask.pack import Pack
from sweeps.driver.dispatcher import Dispatcher
from sweeps.driver.in_process import InProcessExecutor
from sweeps.driver.plan import PackPlan
from sweeps.driver.queue import TrialQueue
from sweeps.driver.session import Session
from sweeps.objectives import Key, Objectives
from sweeps.results import Table
from sweeps.search.study import SweepStudy
from sweeps.signals import OrderlyEnd
from sweeps.store.paths import SweepPaths
from sweeps.worker import pack_worker
from sweeps.worker.messages import Lane
from sweeps.worker.pack_worker import PackWorker
from sweeps.worker.services import WorkerSettings

UNBOUNDED = 10**9
"""Trials of a sweep that ends with its epochs."""


@dataclass
class Outcome:
    """What a sweep came to.

    Attributes:
        epochs: Of each epoch of a pack: `lanes` in training, and `began` and `ended` in seconds since the start.
        networks: Of each network: trial, epoch, the objectives that it is judged by, and the lane-epochs `spent` by
            then over all trials.
        trials: How many ended, finished, stopped or failed.
        spent: Lane-epochs trained.
    """

    epochs: list[Row] = field(default_factory=list)
    networks: list[Row] = field(default_factory=list)
    trials: int = 0
    spent: int = 0


class _Records:
    """Tells the study how trials ended, and counts."""

    def __init__(self, study: SweepStudy, space: SearchSpace, outcome: Outcome) -> None:
        self._study, self._outcome = study, outcome
        self._columns = ["trial", "epoch", *dict.fromkeys(("estimate", *space.objectives))]
        self._began = time.perf_counter()

    def started(self, rows: Sequence[Row]) -> None:
        """Nothing: no other session goes on with this sweep."""

    def waiting(self, lanes: Sequence[Lane]) -> None:
        """Nothing, as above."""

    def epochs(self, epochs: Table, networks: Mapping[Key, bytes], *, now: bool) -> None:  # noqa: ARG002
        """Notes the epoch of a pack, and its networks."""
        ended, seconds = time.perf_counter() - self._began, sum(epochs.column("seconds").to_pylist())
        self._outcome.spent += len(epochs)
        self._outcome.epochs.append({"lanes": len(epochs), "began": ended - seconds, "ended": ended})
        found = epochs.select(self._columns).to_pylist()
        self._outcome.networks += [row | {"spent": self._outcome.spent} for row in found if row["estimate"] is not None]

    def ended(self, rows: Sequence[Row]) -> None:
        """Notes trials that have ended."""
        self._study.tell(rows)
        self._outcome.trials += len(rows)

    def writing_failed(self, reason: str) -> None:
        """Cannot be mended here."""
        raise OSError(reason)


class _Spent(OrderlyEnd):
    """Ends a session at once when its epochs are spent."""

    def __init__(self, outcome: Outcome, lane_epochs: int) -> None:
        super().__init__(0.0, lambda _: None)
        self._outcome, self._lane_epochs = outcome, lane_epochs

    @property
    def asked(self) -> bool:
        """Whether they are."""
        return self._outcome.spent >= self._lane_epochs

    @property
    def is_over(self) -> bool:
        """There is nothing to wait for."""
        return self.asked


class Sweep:
    """One sweep.

    Args:
        space: What to sample, and whether to stop.
        data: Its dataset.
        lanes: Of a full pack.
        repack: Whether lanes that pass a rung at which others are stopped wait for a full pack.
    """

    def __init__(self, space: SearchSpace, data: Dataset, *, lanes: int, repack: bool = True) -> None:
        self._space, self._data, self._lanes, self._repack = space, data, lanes, repack

    def run(self, lane_epochs: int) -> Outcome:
        """Trains until so many epochs have been spent."""
        space, outcome, executor = self._space, Outcome(), InProcessExecutor()
        with tempfile.TemporaryDirectory() as folder, _stepwise(repack=self._repack):
            paths = SweepPaths(Path(folder), space.name)
            paths.folder.mkdir()
            study = SweepStudy(space, paths.journal)
            queue = TrialQueue(study, trials=UNBOUNDED, lanes=self._lanes)
            store = executor.start_store(paths.checkpoints, name=space.name)
            executor.start_judge(paths, space)
            plan = PackPlan(self._lanes, torch.get_num_threads(), 0, 1, "as asked")
            settings = WorkerSettings(
                cpus=plan.cpus,
                gpus=int(torch.cuda.is_available()),
                objectives=Objectives.of(space),
                stopping=space.stopping,
                checkpoint_seconds=1e9,
            )
            session = Session(paths, queue, _Records(study, space, outcome), store)
            share = executor.share(plan, queue, most=None)
            dispatcher = Dispatcher(queue, session, share=share, end=_Spent(outcome, lane_epochs))
            with suppress(KeyboardInterrupt):
                executor.train(dispatcher, plan, settings, {str(space.fixed["dataset"]): self._data})
        return outcome


@contextmanager
def _stepwise(*, repack: bool) -> Iterator[None]:
    """Reports of one epoch each; without packing anew, a pack from which lanes are stopped goes on as it is."""
    stop = PackWorker._stop  # pyright: ignore[reportPrivateUsage]

    def stop_and_go_on(worker: Any, *arguments: Any, **more: Any) -> None:
        stop(worker, *arguments, **more)
        worker._pausing = False

    with mock.patch.object(pack_worker, "REPORT_SECONDS", 1e-9):
        if repack:
            yield
            return
        with mock.patch.object(PackWorker, "_stop", stop_and_go_on):
            yield


def warm_up(configs: list[TrainConfig], data: Dataset, *, compiled: bool) -> None:
    """Trains packs of so many lanes, half as many, and so on, for an epoch, before anything is timed."""
    count = len(configs)
    while count:
        Pack(configs[:count], data, compiled=compiled, slots=len(configs)).train_epoch()
        count //= 2
    if torch.cuda.is_available():
        torch.cuda.synchronize()
