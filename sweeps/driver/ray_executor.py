"""Trains packs in worker processes on this machine or a cluster; Ray Tune schedules them."""

import logging
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune.search import Searcher

from search_spaces.space import SearchSpace
from supermask.data import Dataset
from sweeps.driver import cluster
from sweeps.driver.cluster_share import ClusterShare
from sweeps.driver.dispatcher import Dispatcher, Share
from sweeps.driver.judge import Judge
from sweeps.driver.plan import PackPlan, Resources
from sweeps.driver.queue import TrialQueue
from sweeps.driver.sharing import MachineShare
from sweeps.signals import deferred
from sweeps.store.paths import SweepPaths
from sweeps.worker.checkpoint_store import CheckpointStore
from sweeps.worker.messages import PackReport
from sweeps.worker.ray_worker import PackTrainable, RemoteCheckpoints
from sweeps.worker.services import WorkerSettings

_LOG = logging.getLogger(__name__)

MOST_PACKS = 10_000
"""Bound of packs at a time for Tune, which wants one; the dispatcher knows how many there is room for."""

T = TypeVar("T")


@contextmanager
def on_ray(address: str | None, datasets: Mapping[str, Dataset]) -> Iterator["RayExecutor"]:
    """Connects to a cluster, or starts Ray on this machine; disconnects at the end.

    Raises:
        SweepError: If Ray cannot be reached.
    """
    with cluster.connect(address, datasets) as resources:
        yield RayExecutor(resources, is_shared=address is not None)


class RayExecutor:
    """Packs as trials of Ray Tune.

    Args:
        resources: Of the machine or cluster.
        is_shared: Whether other sweeps may be at work there.
    """

    def __init__(self, resources: Resources, *, is_shared: bool) -> None:
        self.resources, self._is_shared = resources, is_shared
        self._store: Any = None
        self._judge: Any = None
        self._name = ""

    def call(self, function: Callable[..., T], *arguments: Any, plan: PackPlan, beside: int = 1) -> list[T] | None:
        """See `Executor.call`."""
        remote: Any = ray.remote(num_cpus=plan.cpus, num_gpus=plan.gpus, max_retries=0)(function)
        try:
            return ray.get([remote.remote(*arguments) for _ in range(beside)])
        except RayError as error:  # e.g. killed for want of memory
            _LOG.info("a call of %s was lost: %s", function.__name__, str(error).splitlines()[0])
            return None

    def start_store(self, folder: Path, *, name: str) -> RemoteCheckpoints:
        """See `Executor.start_store`. On a cluster other drivers find it by a name."""
        self._name = f"{name}-{uuid.uuid4().hex}"
        self._store = cluster.beside_driver(CheckpointStore, folder, name=self._name if self._is_shared else None)
        return RemoteCheckpoints(self._store)

    def start_judge(self, paths: SweepPaths, space: SearchSpace) -> None:
        """See `Executor.start_judge`."""
        if space.stopping:
            self._judge = cluster.beside_driver(Judge, paths.root.absolute(), paths.name, space, space.stopping)

    def share(self, plan: PackPlan, queue: TrialQueue, *, most: int | None) -> Share:
        """See `Executor.share`."""
        if not self._is_shared:
            return MachineShare(plan)
        return ClusterShare(plan, RemoteCheckpoints(self._store), self._name, most=most, queue=queue)

    def train(
        self, dispatcher: Dispatcher, plan: PackPlan, settings: WorkerSettings, datasets: Mapping[str, Dataset]
    ) -> None:
        """See `Executor.train`.

        Tune itself dies of some losses that it should survive, e.g. of workers that Ray's memory monitor killed: it is
        started again.
        """
        supplies = {
            "datasets": {name: dataset.to_arrays() for name, dataset in datasets.items()},
            "settings": settings,
            "checkpoints": self._store,
            "judge": self._judge,
        }
        while not _fit(PackSearcher(dispatcher), plan, supplies):
            dispatcher.lose_all("Ray Tune broke off")

    def is_lost(self) -> bool:
        """Whether the Ray node of this process has ended."""
        return cluster.is_lost()


def _fit(searcher: "PackSearcher", plan: PackPlan, supplies: dict[str, Any]) -> bool:
    """Lets Tune work through the queue; False when it broke off."""
    trainable = tune.with_resources(
        tune.with_parameters(PackTrainable, **supplies), {"cpu": plan.cpus, "gpu": plan.gpus}
    )
    # Tune may still copy into it when Ctrl-C has left `fit`; a folder that stays must not hide that.
    with tempfile.TemporaryDirectory(prefix="sweeps-tune-", ignore_cleanup_errors=True) as scratch:
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=-1,
                max_concurrent_trials=MOST_PACKS,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=scratch,
                verbose=0,
                progress_reporter=tune.CLIReporter(),  # the one for notebooks begins with clearing the cell
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        try:
            tuner.fit()
        except (RuntimeError, RayError) as error:
            _LOG.warning("Ray Tune broke off and is started again: %s", str(error).splitlines()[0])
            return False
    return True


class PackSearcher(Searcher):
    """A Tune searcher whose every suggestion is a pack.

    Tune's loop dies of an exception in a searcher, and repeats a call for work until it gets some, so "not now" is
    answered while a pack in training may still be lost and its trials come back. A Ctrl-C waits until a call is over.

    Args:
        dispatcher: Hands out the packs.
    """

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__(metric="pack", mode="max")
        self._dispatcher = dispatcher
        self._packs: dict[str, int] = {}

    @deferred()
    def suggest(self, trial_id: str) -> Any:  # Tune's own annotation leaves FINISHED, a string, out
        """The next pack as a Tune configuration; None while there is nothing to do, FINISHED when all is done."""
        order = self._dispatcher.next_order()
        if order is None:
            return Searcher.FINISHED if self._dispatcher.is_done else None
        self._packs[trial_id] = order.number
        return {"order": order}

    @deferred()
    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:  # noqa: ARG002 - the report names its pack
        """A pack reported."""
        self._take(result)

    @deferred()
    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A pack is over. Tune passes the last report here only, when it came with `done`."""
        if result and not error:
            self._take(result)
        if trial_id in self._packs:
            self._dispatcher.close(self._packs.pop(trial_id))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the truth, and a new session reads it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, see `save`."""

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its searcher beside its own state, which no session here ever reads.
        return {}

    def _take(self, result: dict[str, Any]) -> None:
        parcel: list[PackReport] = result["report"]
        while parcel:  # emptied, see `sweeps.worker.ray_worker.parcel`
            self._dispatcher.take(parcel.pop())
