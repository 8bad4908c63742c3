"""Trains packs one after the other in this process: for one machine without Ray, for debuggers and for tests."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from search_spaces.space import SearchSpace
from supermask.data import Dataset
from sweeps.driver.dispatcher import Dispatcher
from sweeps.driver.judge import Judge
from sweeps.driver.plan import PackPlan, local_resources
from sweeps.driver.queue import TrialQueue
from sweeps.driver.sharing import MachineShare
from sweeps.errors import SweepError
from sweeps.store.paths import SweepPaths
from sweeps.worker.checkpoint_store import CheckpointStore
from sweeps.worker.messages import PackOrder
from sweeps.worker.pack_worker import PackWorker
from sweeps.worker.services import WorkerSettings

RETRY_SECONDS = 0.5
"""Time until the next try where the study could not be written."""

T = TypeVar("T")


class InProcessExecutor:
    """One pack at a time, step by step, on all cores of this machine or its first GPU."""

    def __init__(self) -> None:
        self.resources = local_resources()
        self._store: CheckpointStore | None = None
        self._judge: Judge | None = None

    def call(self, function: Callable[..., T], *arguments: Any, plan: PackPlan, beside: int = 1) -> list[T] | None:
        """See `Executor.call`; there is one place only."""
        del plan
        return [function(*arguments) for _ in range(beside)]

    def start_store(self, folder: Path, *, name: str) -> CheckpointStore:
        """See `Executor.start_store`."""
        del name
        self._store = CheckpointStore(folder)
        return self._store

    def start_judge(self, paths: SweepPaths, space: SearchSpace) -> None:
        """See `Executor.start_judge`."""
        if space.stopping:
            self._judge = Judge(paths.root, paths.name, space, space.stopping)

    def share(self, plan: PackPlan, queue: TrialQueue, *, most: int | None) -> MachineShare:
        """See `Executor.share`."""
        del queue, most
        return MachineShare(plan)

    def train(
        self, dispatcher: Dispatcher, plan: PackPlan, settings: WorkerSettings, datasets: Mapping[str, Dataset]
    ) -> None:
        """See `Executor.train`."""
        del plan
        arrays = {name: dataset.to_arrays() for name, dataset in datasets.items()}
        worker = PackWorker(arrays, settings, self._store, self._judge)
        while not dispatcher.is_done:
            if order := dispatcher.next_order():
                self._train_pack(worker, order, dispatcher)
            else:
                time.sleep(RETRY_SECONDS)

    def _train_pack(self, worker: PackWorker, order: PackOrder, dispatcher: Dispatcher) -> None:
        worker.take(order)
        done = False
        while not (done or worker.has_left):
            report = worker.step()
            dispatcher.take(report)
            if worker.is_broken:
                raise SweepError(f"this process can train no more: {report.error}. Start another one.", exit_code=1)
            done = report.done
            dispatcher.end_in_order()
        dispatcher.close(order.number)

    def is_lost(self) -> bool:
        """Never: this process is the worker."""
        return False
