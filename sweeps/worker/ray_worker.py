"""A pack as a trial of Ray Tune, and the ways of workers and driver to the sweep's actors."""

import os
from collections.abc import Iterable
from typing import Any

import ray
from ray import tune
from ray.actor import exit_actor
from ray.exceptions import GetTimeoutError, RayError

from sweeps.worker.checkpoints import Checkpoint, Reached
from sweeps.worker.messages import PackReport
from sweeps.worker.pack_worker import PackWorker
from sweeps.worker.services import WorkerSettings
from sweeps.worker.watchdog import Watchdog

ANSWER_SECONDS = 0.1
"""How long a pack waits to hear whether it is preempted; an answer that comes later is read after its next epochs."""
PATIENCE_SECONDS = 60.0
"""How long the driver waits for the store, which may be writing a large file; then its trials start again."""
LAST_PATIENCE_SECONDS = 5.0
"""The same at Ctrl-C."""

Row = dict[str, Any]


class PackTrainable(tune.Trainable):
    """A `PackWorker` in a process of its own, as Ray Tune drives it.

    The process ends where it can train no more, and after a pack that was preempted: Tune would train its next pack
    here, on a node or a share that is to be given back.
    """

    def setup(self, config: Row, **supplies: Any) -> None:
        """Takes the first pack.

        Args:
            config: The Tune trial's configuration, with the `order`.
            supplies: What the driver gave Tune for all packs: arrays of the `datasets`, from Ray's object store, the
                `settings`, and the handles of the actors with the `checkpoints` and the `judge`, or None.
        """
        settings: WorkerSettings = supplies["settings"]
        checkpoints, judge = supplies["checkpoints"], supplies["judge"]
        # Well within the watchdog's limit: that an actor is slow is not the pack's fault.
        patience_seconds = settings.hang_seconds / 2
        self._worker = PackWorker(
            supplies["datasets"],
            settings,
            checkpoints and RemoteCheckpoints(checkpoints, patience_seconds),
            judge and RemoteJudge(judge, patience_seconds),
            node=ray.get_runtime_context().get_node_id() if ray.is_initialized() else "",
        )
        self._watchdog = Watchdog(settings.hang_seconds)
        self._worker.take(config["order"])

    def reset_config(self, new_config: Row) -> bool:
        """Takes the next pack in the same process: importing torch anew would cost seconds."""
        self._worker.take(new_config["order"])
        return True

    def step(self) -> Row:
        """Trains until the next report is due or every lane has ended."""
        if self._worker.is_broken:
            os._exit(1)  # a thread that hangs cannot be ended alone
        if self._worker.has_left:
            exit_actor()
        try:
            report = self._watchdog.watch(self._worker.step, lambda: self._worker.progress)
        except TimeoutError as error:
            report = self._worker.hung(error)
        return parcel(report)


def parcel(report: PackReport) -> Row:
    """A report as a Tune result. In a list: Tune keeps the last result of every pack, and the driver empties it."""
    return {"pack": report.pack, "report": [report], "done": report.done}


class RemoteCheckpoints:
    """The way to the actor with the sweep's `CheckpointStore`.

    Args:
        actor: Its handle.
        patience_seconds: How long a call may take.
    """

    def __init__(self, actor: Any, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._actor, self._patience_seconds = actor, patience_seconds
        self._asked: tuple[int, Any] | None = None

    def keep(self, checkpoint: Checkpoint, *, waiting: bool, durable: bool) -> str | None:
        """See `CheckpointStore.keep`.

        Raises:
            TimeoutError: If the store does not answer.
        """
        sent = self._actor.keep.remote(checkpoint, waiting=waiting, durable=durable)
        try:
            return ray.get(sent, timeout=self._patience_seconds)
        except GetTimeoutError as error:
            raise TimeoutError(
                f"the checkpoint store must take a checkpoint within {self._patience_seconds:g} s, but did not."
            ) from error

    def take(self, trials: list[int], epoch: int) -> list[Checkpoint]:
        """See `CheckpointStore.take`."""
        return ray.get(self._actor.take.remote(trials, epoch))

    def is_preempted(self, pack: int) -> bool:
        """See `CheckpointStore.is_preempted`; no, while the store does not answer."""
        if not self._asked or self._asked[0] != pack:
            self._asked = pack, self._actor.is_preempted.remote(pack)
        try:
            answer: bool = ray.get(self._asked[1], timeout=ANSWER_SECONDS)
        except GetTimeoutError:
            return False
        self._asked = None
        return answer

    def reached(self, trials: Iterable[int]) -> dict[int, Reached]:
        """See `CheckpointStore.reached`; nothing, if the store does not answer."""
        try:
            return ray.get(self._actor.reached.remote(list(trials)), timeout=self._patience_seconds)
        except RayError:
            return {}

    def settle(self) -> None:
        """See `CheckpointStore.settle`."""
        try:
            ray.get(self._actor.settle.remote(), timeout=LAST_PATIENCE_SECONDS)
        except RayError:
            return

    def preempt(self, packs: Iterable[int], *, ending: bool) -> None:
        """See `CheckpointStore.preempt`; returns at once."""
        self._actor.preempt.remote(list(packs), ending=ending)

    def publish(self, demand: list[float]) -> None:
        """See `CheckpointStore.publish`; returns at once."""
        self._actor.publish.remote(demand)

    def forget(self, trials: Iterable[int]) -> None:
        """See `CheckpointStore.forget`; returns at once."""
        self._actor.forget.remote(list(trials))


class RemoteJudge:
    """The way to the actor that decides at rungs.

    Args:
        actor: Its handle.
        patience_seconds: How long an answer may take.
    """

    def __init__(self, actor: Any, patience_seconds: float) -> None:
        self._actor, self._patience_seconds = actor, patience_seconds

    def judge(self, epoch: int, reached: dict[int, Row]) -> list[int]:
        """See `sweeps.search.halving.Rungs.judge`.

        Raises:
            TimeoutError: If the judge does not answer. Ray's own error for it is one, too.
        """
        return ray.get(self._actor.judge.remote(epoch, reached), timeout=self._patience_seconds)
