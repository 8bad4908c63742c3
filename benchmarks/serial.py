"""A sweep without Ray: one pack after the other in this process, by the study, rungs and packs of a real one."""

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from benchmarks.record import Row
from search_spaces.space import SearchSpace
from supermask import lane_states
from supermask.config import TrainConfig
from supermask.data import Dataset
from supermask.metrics import EpochMetrics
from supermask.pack import Pack
from sweeps.driver.queue import Lane, PackOrder, TrialQueue
from sweeps.search.halving import Rungs, is_rung, remaining_before
from sweeps.search.study import SweepStudy

UNBOUNDED = 10**9
"""Trials of a sweep that ends with its epochs."""


@dataclass
class Outcome:
    """What a sweep came to.

    Attributes:
        epochs: Of each epoch of a pack: `lanes` in training, and `began` and `ended` in seconds since the start.
        finished: Of each finished trial: its objectives, and the lane-epochs `spent` by then over all trials.
        trials: How many ended, finished, stopped or failed.
    """

    epochs: list[Row] = field(default_factory=list)
    finished: list[Row] = field(default_factory=list)
    trials: int = 0
    spent: int = 0


class Sweep:
    """One sweep.

    Args:
        space: What to sample, and whether to stop.
        data: Its dataset.
        lanes: Of a full pack.
        repack: Whether lanes that pass a rung at which others are stopped wait for a full pack.
        compiled: Whether packs are compiled.
    """

    def __init__(
        self, space: SearchSpace, data: Dataset, *, lanes: int, repack: bool = True, compiled: bool = False
    ) -> None:
        """Nothing is asked yet."""
        self.outcome = Outcome()
        self._space, self._data, self._lanes, self._repack, self._compiled = space, data, lanes, repack, compiled
        self._rungs = Rungs(space, space.stopping) if space.stopping else None
        self._states: dict[int, lane_states.State] = {}

    def run(self, lane_epochs: int) -> Outcome:
        """Trains until so many epochs have been spent, and the pack of the last one has ended."""
        with tempfile.TemporaryDirectory() as folder:
            study = SweepStudy(self._space, Path(folder) / "study.journal")
            queue = TrialQueue(study, trials=UNBOUNDED, lanes=self._lanes)
            self._began = time.perf_counter()
            while self.outcome.spent < lane_epochs and (order := queue.next_pack()):
                self._train(order, study, queue)
        return self.outcome

    def _train(self, order: PackOrder, study: SweepStudy, queue: TrialQueue) -> None:
        lanes = order.lanes
        configs = [lane.config for lane in lanes]
        pack = Pack(configs, self._data, compiled=self._compiled, slots=order.slots)
        if order.epoch:
            pack.load_state_dict(lane_states.join([self._states.pop(lane.trial) for lane in lanes]))
        while pack.lanes:
            began = time.perf_counter() - self._began
            before = remaining_before(pack, self._space.stopping)
            metrics = pack.train_epoch()
            self.outcome.spent += len(metrics)
            ended = time.perf_counter() - self._began
            self.outcome.epochs.append({"lanes": len(metrics), "began": began, "ended": ended})
            stopped = self._leave(pack, lanes, metrics, before, study)
            if stopped and pack.lanes and self._repack:
                for lane, state in lane_states.each(pack):
                    self._states[lanes[lane].trial] = state
                    queue.pause(replace(lanes[lane], epoch=pack.epoch))
                pack.drop(list(pack.lanes))

    def _leave(
        self,
        pack: Pack,
        lanes: Sequence[Lane],
        metrics: list[EpochMetrics],
        before: dict[int, float],
        study: SweepStudy,
    ) -> list[int]:
        """Lanes that failed, finished or are stopped leave the pack; returns those that are stopped."""
        found = {metric.lane: metric for metric in metrics}
        failed = [lane for lane, metric in found.items() if metric.fault]
        pack.drop(failed)
        finished = pack.complete()
        pack.drop(finished)
        stopped = list[int]()
        stopping = self._space.stopping
        if self._rungs and stopping and pack.lanes and is_rung(pack.epoch, stopping):
            reached = {
                lanes[lane].trial: vars(found[lane]) | {"remaining_before": before.get(lane)} for lane in pack.lanes
            }
            numbers = set(self._rungs.judge(pack.epoch, reached))
            stopped = [lane for lane in pack.lanes if lanes[lane].trial in numbers]
            pack.drop(stopped)
        for state, gone in (("failed", failed), ("finished", finished), ("stopped", stopped)):
            study.tell([_row(lanes[lane].trial, state, found[lane]) for lane in gone])
            self.outcome.trials += len(gone)
        self.outcome.finished += [
            {name: getattr(found[lane], name) for name in self._space.objectives} | {"spent": self.outcome.spent}
            for lane in finished
        ]
        return stopped


def _row(trial: int, state: str, metric: EpochMetrics) -> Row:
    tests = {"test_loss": math.nan, "test_accuracy": math.nan, "epochs_done": metric.epoch, "seconds": metric.seconds}
    return tests | vars(metric) | {"trial": trial, "state": state, "reason": None, "attempt": 1}


def warm_up(configs: list[TrainConfig], data: Dataset, *, compiled: bool) -> None:
    """Trains packs of so many lanes, half as many, and so on, for an epoch, before anything is timed."""
    count = len(configs)
    while count:
        Pack(configs[:count], data, compiled=compiled, slots=len(configs)).train_epoch()
        count //= 2
    if torch.cuda.is_available():
        torch.cuda.synchronize()
