"""A session: which trials are in training, and where what packs report goes."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType

import numpy as np

from sweeps.driver.queue import TrialQueue
from sweeps.driver.recorder import Records
from sweeps.driver.running_pack import Row, RunningPack
from sweeps.errors import SweepError
from sweeps.results import of_trials
from sweeps.store.columns import integers
from sweeps.store.paths import SweepPaths
from sweeps.worker.messages import PackOrder, PackReport, Place
from sweeps.worker.services import Checkpoints

BREAKS = 5
"""Times in a row that all packs may be lost without a trial that ended in between."""

PREEMPT_SECONDS = 2.0
"""Time between two messages to the sweep's actor about the same preempted packs."""


_LOG = logging.getLogger(__name__)


class Session:
    """The state of one driver at work: packs in training and trials by state. All methods are called from one thread.

    Nothing waits for a disk or a network, but the loss of a pack: for the checkpoints of its trials.

    Args:
        paths: Where the sweep is kept.
        queue: Where packs come from.
        records: Where results go.
        checkpoints: Of trials that have not ended.
        commit: Git commit of the code, if known.
        ended: Number of finished, stopped and failed trials of earlier sessions.
        epochs: Epochs that these were trained.
        seconds: Time that earlier sessions took.
    """

    def __init__(
        self,
        paths: SweepPaths,
        queue: TrialQueue,
        records: Records,
        checkpoints: Checkpoints,
        *,
        commit: str | None = None,
        ended: Mapping[str, int] = MappingProxyType({}),
        epochs: int = 0,
        seconds: float = 0.0,
    ) -> None:
        self._paths, self._queue, self._records, self._commit = paths, queue, records, commit
        self._checkpoints, self._unkept = checkpoints, ""
        self._earlier_seconds, self._began = seconds, time.monotonic()
        self.packs: dict[int, RunningPack] = {}
        self._notes: tuple[str, ...] = ()
        self._preempted = 0.0
        self.ended: dict[str, int] = {state: ended.get(state, 0) for state in ("finished", "stopped", "failed")}
        self.reasons: dict[str, int] = {}
        self._epochs = epochs
        self._breaks, self._ended_at_break = 0, dict(self.ended)

    @property
    def seconds(self) -> float:
        """Time that all sessions of the sweep took."""
        return self._earlier_seconds + time.monotonic() - self._began

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of this moment."""
        return self._notes

    def note(self, notes: tuple[str, ...]) -> None:
        """Replaces the notes."""
        self._notes = notes

    def writing_failed(self, error: OSError) -> None:
        """The study could not be written; it is tried again."""
        self._records.writing_failed(str(error))

    def describe(self) -> Row:
        """What the session file says of a driver at work; also called by the lease's thread."""
        return {
            "name": self._paths.name, "seconds": round(self.seconds, 3), "trials": self.counts, "notes": self.notes
        }  # fmt: skip

    @property
    def counts(self) -> dict[str, int]:
        """Trials by state, and how many were asked in all; also read by the display's thread.

        A trial is running from the moment its pack has a worker, and waiting before.
        """
        packs = list(self.packs.values())
        running = sum(len(pack.open) for pack in packs if pack.begun is not None)
        waiting = self._queue.waiting + sum(len(pack.open) for pack in packs if pack.begun is None)
        return {"asked": self._queue.asked, **self.ended, "running": running, "waiting": waiting}

    def epochs(self, *, budget: int, each: int) -> tuple[int, int]:
        """Epochs trained so far, and in all if every further trial has its full length; also read by other threads.

        Args:
            budget: Trials of the sweep.
            each: Epochs of a trial that waits.
        """
        packs = [pack for pack in list(self.packs.values()) if pack.begun is not None]
        done = self._epochs + sum(len(pack.open) * pack.epoch for pack in packs)
        left = sum(len(pack.open) * (pack.order.lanes[0].config.epochs - pack.epoch) for pack in packs)
        waiting = budget - sum(self.ended.values()) - sum(len(pack.open) for pack in packs)
        return done, done + left + max(0, waiting) * each

    def start(self, order: PackOrder) -> None:
        """A pack was handed out; it begins when there is a worker for it."""
        self.packs[order.number] = RunningPack(order, {lane.trial: lane for lane in order.lanes})

    def _begin(self, pack: RunningPack, place: Place) -> None:
        order, pack.place, pack.begun = pack.order, place, time.monotonic()
        since = f" from epoch {order.epoch} on" if order.epoch else ""
        _LOG.info("pack %d: trials %s%s", order.number, ", ".join(str(lane.trial) for lane in order.lanes), since)
        self._records.started([pack.running(lane, commit=self._commit) for lane in order.lanes])

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
            self._checkpoints.preempt(preempted, ending=ending)

    def report(self, report: PackReport) -> None:
        """A pack reported epochs and ended trials."""
        pack = self.packs.get(report.pack)
        if pack is None:
            return
        if report.place:
            self._begin(pack, report.place)
        epochs = report.epochs
        if any(trial not in pack.open for trial in np.unique(integers(epochs, "trial"))):
            epochs = of_trials(epochs, pack.open)
        if epochs:
            pack.epoch, pack.latest = report.epoch, epochs
            # A checkpoint that is kept before the epochs that led to it are on disk would be of no use after a crash.
            networks = {key: content for key, content in report.networks.items() if key[0] in pack.open}
            self._records.epochs(epochs, networks, now=report.keeps)
        self._end(pack, [lane.to_row() for lane in report.ended if lane.trial in pack.open])
        for paused in report.paused:
            lane = pack.open.pop(paused.trial)
            if paused.epoch > lane.epoch:
                started = lane.started or pack.started
                lane = replace(lane, epoch=paused.epoch, seconds=paused.seconds, started=started)
            self._queue.pause(lane)
        if report.unkept and report.unkept != self._unkept:
            self._unkept = report.unkept
            _LOG.warning("pack %d: a checkpoint was not kept: %s", pack.order.number, self._unkept)

    def close_pack(self, number: int, reason: str, *, out_of_memory: bool = False) -> None:
        """A pack is over; lanes of it that have not ended were lost and wait again, or are given up.

        Args:
            number: The pack.
            reason: Why its lanes were lost, if any were.
            out_of_memory: Whether it was for want of memory: packs of this structure stay smaller from now on.
        """
        pack = self.packs.pop(number)
        if pack.open:
            trials = ", ".join(map(str, pack.open))
            _LOG.info("pack %d: lost trials %s: %s", number, trials, reason)
        lanes = list(pack.open.values())
        reached = self._checkpoints.reached(pack.open) if lanes else {}
        too_many = len(pack.order.lanes) if out_of_memory else 0
        given_up = self._queue.lost(lanes, too_many=too_many, reached=reached)
        if out_of_memory:
            reason += ". It does not fit alone: lower batch_size or width, or train where there is more memory."
        end = {"state": "failed", "reason": reason, "ended": datetime.now(UTC)}
        known = [{"trial": lane.trial, "attempt": lane.attempt} for lane in given_up]
        rows = [pack.reached(lane) | row | end for lane, row in zip(given_up, known, strict=True)]
        self._end(pack, rows)

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
        self._records.waiting([*lanes, *paused])
        self._queue.lost([lane for pack in packs for lane in pack.open.values()])
        self.packs.clear()
        if paused:
            self._checkpoints.settle()
        return len(lanes)

    def _end(self, pack: RunningPack, rows: Sequence[Row]) -> None:
        if not rows:
            return
        self._records.ended([pack.complete(pack.open.pop(row["trial"]), row, commit=self._commit) for row in rows])
        for row in rows:
            self.ended[row["state"]] += 1
            self._epochs += row["epochs_done"] or 0
            if row["state"] == "failed":
                kind = str(row["reason"]).split(":")[0]
                self.reasons[kind] = self.reasons.get(kind, 0) + 1
                _LOG.info("trial %d: failed: %s", row["trial"], row["reason"])
