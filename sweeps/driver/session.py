"""The driver's books: which trials are in training, and where what packs report goes."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sweeps.driver.leaders import Leaders
from sweeps.driver.queue import Lane, PackOrder, TrialQueue
from sweeps.driver.recorder import Recorder
from sweeps.errors import SweepError
from sweeps.pareto import Table
from sweeps.results import ResultsWriter, of_trials
from sweeps.search.study import SweepStudy
from sweeps.store.lease import Lease
from sweeps.store.masks import MaskStore
from sweeps.store.paths import SweepPaths
from sweeps.tracking.mirror import Mirror
from sweeps.tracking.trajectory import EPOCH_METRICS

if TYPE_CHECKING:
    from sweeps.worker.checkpoint_actor import States

BREAKS = 5
"""Times in a row that all packs may be lost without a trial that ended in between."""

ROOM_SECONDS = 600.0
"""How long the end of a session waits for a disk that cannot be written."""

PREEMPT_SECONDS = 2.0
"""Time between two messages to the sweep's actor about the same preempted packs."""

Row = dict[str, Any]

_LOG = logging.getLogger(__name__)


@dataclass
class RunningPack:
    """A pack in training.

    Attributes:
        order: Its trials.
        open: Its lanes that have not ended, by trial.
        place: Host, device and dtype, known from its first report on.
        node: Ray's name of its node; empty until it has begun.
        begun: When it began to train, in seconds of a monotonic clock; None while it waits for a worker.
        is_fresh: Whether its worker was started for it.
        preempted: Whether it is to write its checkpoints and end.
        started: When it was handed out.
        epoch: The latest epoch reported; before that the one it goes on from.
        latest: The epoch rows of the last report that had some.
    """

    order: PackOrder
    open: dict[int, Lane]
    place: Row = field(default_factory=dict)
    node: str = ""
    begun: float | None = None
    is_fresh: bool = False
    preempted: bool = False
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    epoch: int = field(init=False)
    latest: Table | None = None

    def __post_init__(self) -> None:
        """Numbers the lanes."""
        self.epoch = self.order.epoch
        self.places = {lane.trial: place for place, lane in enumerate(self.order.lanes)}

    def reached(self, lane: Lane) -> Row:
        """How far a lane has come that never ends: its epochs, and its metrics after the last one."""
        rows = of_trials(self.latest, [lane.trial]).to_pylist() if self.latest is not None else []
        last = max(rows, key=lambda row: row["epoch"], default=None)
        if last is None:
            return {"epochs_done": lane.epoch}
        return {"epochs_done": last["epoch"]} | {name: last[name] for name in (*EPOCH_METRICS, "layers")}


class Session:
    """One driver at work on a sweep. All methods are called from one thread.

    Nothing waits for a disk or a network, but the loss of a pack: for what was kept of its trials.
    """

    def __init__(
        self,
        paths: SweepPaths,
        queue: TrialQueue,
        study: SweepStudy,
        writer: ResultsWriter,
        mirror: Mirror,
        *,
        lease: Lease,
        masks: MaskStore,
        states: "States",
        leaders: Leaders,
        commit: str | None,
        ended: Mapping[str, int],
        seconds: float,
    ) -> None:
        """Opens the books.

        Args:
            paths: Where the sweep is kept.
            queue: Where packs come from.
            study: Told how trials ended.
            writer: Of the Parquet files.
            mirror: In MLflow.
            lease: Of the sweep; without it nothing is written.
            masks: Where trained masks are kept.
            states: Where the states of trials that have not ended are kept.
            leaders: Best trials of earlier sessions.
            commit: Git commit of the code, if known.
            ended: Number of finished, stopped and failed trials of earlier sessions.
            seconds: Time that earlier sessions took.
        """
        self._paths, self._queue, self._study, self._mirror, self._commit = paths, queue, study, mirror, commit
        self._lease, self._states, self._unkept = lease, states, ""
        self._earlier_seconds, self._began = seconds, time.monotonic()
        self.packs: dict[int, RunningPack] = {}
        self.notes: tuple[str, ...] = ()
        self._preempted = 0.0
        self.ended: dict[str, int] = {state: ended.get(state, 0) for state in ("finished", "stopped", "failed")}
        self.reasons: dict[str, int] = {}
        self._breaks, self._ended_at_break = 0, dict(self.ended)
        self.leaders = leaders
        self._beat()
        self.recorder = Recorder(
            writer, study, mirror, masks=masks, leaders=leaders, lease=lease, beat=self._beat, forget=states.forget
        )

    @property
    def seconds(self) -> float:
        """Time that all sessions of the sweep took."""
        return self._earlier_seconds + time.monotonic() - self._began

    @property
    def counts(self) -> dict[str, int]:
        """Trials by state, and how many were asked in all; also read by the display's thread.

        A trial is running from the moment its pack has a worker, and waiting before.
        """
        packs = list(self.packs.values())
        running = sum(len(pack.open) for pack in packs if pack.begun is not None)
        waiting = self._queue.waiting + sum(len(pack.open) for pack in packs if pack.begun is None)
        return {"asked": self._queue.asked, **self.ended, "running": running, "waiting": waiting}

    def start(self, order: PackOrder) -> None:
        """A pack was handed out; it begins when there is a worker for it."""
        self.packs[order.number] = RunningPack(order, {lane.trial: lane for lane in order.lanes})

    def _begin(self, pack: RunningPack, place: Mapping[str, Any]) -> None:
        order, pack.place, pack.begun = pack.order, dict(place), time.monotonic()
        pack.node, pack.is_fresh = pack.place.pop("node", ""), pack.place.pop("fresh", False)
        since = f" from epoch {order.epoch} on" if order.epoch else ""
        _LOG.info("pack %d: trials %s%s", order.number, ", ".join(str(lane.trial) for lane in order.lanes), since)
        self.recorder.started({lane.trial: lane.attempt for lane in order.lanes})
        self._mirror.trials_started(
            [
                {"trial": lane.trial, "attempt": lane.attempt, "pack": order.number, **lane.config.to_dict()}
                for lane in order.lanes
            ]
        )

    def preempt(self, numbers: Iterable[int], *, ending: bool = False) -> None:
        """Tells packs to write checkpoints and end; their trials wait for the next pack.

        Args:
            numbers: The packs.
            ending: Whether the session ends.
        """
        fresh = [number for number in numbers if not self.packs[number].preempted]
        for number in fresh:
            if self.packs[number].begun is not None:
                _LOG.info("pack %d: preempted", number)
            self.packs[number].preempted = True
        preempted = [number for number, pack in self.packs.items() if pack.preempted]
        # All of them, again and again: the actor forgets them if its process dies and is made anew.
        if fresh or (preempted and time.monotonic() - self._preempted >= PREEMPT_SECONDS):
            self._preempted = time.monotonic()
            self._states.preempt(preempted, ending=ending)

    def report(self, report: Mapping[str, Any]) -> None:
        """A pack reported epochs and ended trials; see `sweeps.worker.pack_worker`."""
        pack = self.packs.get(report["pack"])
        if pack is None:
            return
        for place in report["started"]:
            self._begin(pack, place)
        epochs = report["epochs"]
        if any(trial not in pack.open for trial in report["trials"]):
            epochs = of_trials(epochs, pack.open)
        if epochs:
            pack.epoch, pack.latest = report["epoch"], epochs
            # A state that is kept before the epochs that led to it are on disk would be of no use after a crash.
            self.recorder.epochs(epochs, now=report["keeps"])
        self._end(pack, [row for row in report["ended"] if row["trial"] in pack.open])
        for row in report["paused"]:
            lane = pack.open.pop(row["trial"])
            if row["epoch"] > lane.epoch:
                started = lane.started or pack.place.get("started", pack.started)
                lane = replace(lane, epoch=row["epoch"], seconds=row["seconds"], started=started)
            self._queue.pause(lane)
        if report["unkept"] and report["unkept"] != self._unkept:
            self._unkept = report["unkept"]
            _LOG.warning("pack %d: a state was not kept: %s", pack.order.number, self._unkept)

    def close_pack(self, number: int, reason: str, *, out_of_memory: bool = False) -> None:
        """A pack is over; lanes of it that have not ended were lost and wait again, or are given up.

        Args:
            number: The pack.
            reason: Why its lanes were lost, if any were.
            out_of_memory: Whether it was for want of memory: packs of this structure stay smaller from now on.
        """
        pack = self.packs.pop(number)
        if pack.open:
            _LOG.info("pack %d: lost %d trials: %s", number, len(pack.open), reason)
        lanes = list(pack.open.values())
        reached = self._states.reached(pack.open) if lanes else {}
        too_many = len(pack.order.lanes) if out_of_memory else 0
        given_up = self._queue.lost(lanes, too_many=too_many, reached=reached)
        if out_of_memory:
            reason += ". It does not fit alone: lower batch_size or width, or train where there is more memory."
        now = datetime.now(UTC)
        self._end(
            pack,
            [
                pack.reached(lane)
                | {"trial": lane.trial, "attempt": lane.attempt, "state": "failed", "reason": reason, "ended": now}
                for lane in given_up
            ],
        )

    def lose_packs(self, reason: str) -> None:
        """All packs in training were lost together.

        Raises:
            SweepError: If that happens again and again without a trial that ends.
        """
        self._breaks = 0 if self.ended != self._ended_at_break else self._breaks + 1
        self._ended_at_break = dict(self.ended)
        for number in list(self.packs):
            self.close_pack(number, reason)
        if self._breaks >= BREAKS:
            raise SweepError(
                f"sweep {self._paths.name}: trials must end between breakdowns, but {BREAKS} came in a row ({reason}). "
                f"See {self._paths.log} and go on with: sweeps resume {self._paths.name}{self._paths.root_option}",
                exit_code=1,
            )

    def interrupt(self) -> int:
        """The session was told to stop: trials in training wait for the next one.

        Returns:
            How many trials were in training.
        """
        packs = list(self.packs.values())
        lanes = [lane for pack in packs if pack.begun is not None for lane in pack.open.values()]
        paused = self._queue.paused()
        self._mirror.trials_waiting({"trial": lane.trial, "attempt": lane.attempt} for lane in (*lanes, *paused))
        self._queue.lost([lane for pack in packs for lane in pack.open.values()])
        self.packs.clear()
        if paused:
            self._states.settle()
        return len(lanes)

    def close(self, state: str) -> None:
        """Writes everything that is still in memory. Nobody else may go on yet, see `end`.

        Args:
            state: How the session ended: `finished`, `interrupted` or `failed`.

        Raises:
            SweepError: If the results cannot be written.
        """
        fault = self.recorder.close(patience_seconds=0.0 if state == "interrupted" else ROOM_SECONDS)
        if fault:
            raise SweepError(
                f"{fault} What is not written yet will be trained again: make room and go on with: "
                f"sweeps resume {self._paths.name}{self._paths.root_option}",
                exit_code=1,
            )
        self._beat_if_possible()

    def end(self, state: str) -> None:
        """Gives the sweep free for the next session, as the last thing that is written.

        Args:
            state: As for `close`.
        """
        self._beat_if_possible(state)

    def _beat_if_possible(self, state: str = "running") -> None:
        try:
            self._beat(state)
        except OSError as error:
            _LOG.warning("%s: must be written, but got: %s", self._lease.path, error)

    def _beat(self, state: str = "running") -> None:
        seconds = round(self.seconds, 3)
        self._lease.renew(name=self._paths.name, state=state, seconds=seconds, trials=self.counts, notes=self.notes)

    def _end(self, pack: RunningPack, rows: Sequence[Row]) -> None:
        if not rows:
            return
        lanes = [pack.open.pop(row["trial"]) for row in rows]
        self.recorder.ended(lambda: [self._complete(pack, *pair) for pair in zip(lanes, rows, strict=True)])
        for row in rows:
            self.ended[row["state"]] += 1
            if row["state"] == "failed":
                kind = str(row["reason"]).split(":")[0]
                self.reasons[kind] = self.reasons.get(kind, 0) + 1
                _LOG.info("trial %d: failed: %s", row["trial"], row["reason"])

    def _complete(self, pack: RunningPack, lane: Lane, row: Row) -> tuple[Row, bytes | None]:
        """A row of `sweeps.results.TRIALS`, and the trained network."""
        complete = _NOTHING | {"pack": pack.order.number, "lane": pack.places[lane.trial], "commit": self._commit}
        complete |= lane.config.to_dict() | {"started": pack.started} | pack.place | row
        if lane.started:
            complete["started"] = lane.started
        return complete, complete.pop("artifact", None)


_NOTHING: Row = {
    "epochs_done": 0,
    **dict.fromkeys((*EPOCH_METRICS, "test_loss", "test_accuracy", "seconds")),
    **dict.fromkeys(("layers", "host", "device", "dtype")),
}
"""A trial row of which nothing is known yet."""
