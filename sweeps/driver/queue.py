"""Which trials are trained next, and together: packs of asked trials of one structure."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

from sweeps.search.study import AskedTrial
from sweeps.worker.checkpoints import Reached
from sweeps.worker.messages import Lane, PackOrder

LOOK_AHEAD = 4
"""Packs' worth of trials asked ahead when the sampled structures differ, to fill packs with equal ones."""
LOSSES = 3
"""Times a trial may be lost with its pack in one session, without getting on, before it is given up."""


class TrialSource(Protocol):
    """Where new trials come from: the study, or what prefetches from it."""

    @property
    def asked(self) -> int:
        """Number of trials sampled so far."""
        ...

    def ask(self) -> AskedTrial:
        """Samples the next trial."""
        ...


def open_lanes(trials: Iterable[AskedTrial], reached: Mapping[int, Reached] = MappingProxyType({})) -> list[Lane]:
    """Trials that an earlier session left open, as they go on.

    Args:
        trials: As the study has them.
        reached: How far their checkpoints go, by trial.
    """
    return [Lane(one.number, one.attempts, one.config).again(reached.get(one.number)) for one in trials]


class TrialQueue:
    """Hands out packs until the budget is asked and nothing waits."""

    def __init__(
        self,
        source: TrialSource | None,
        waiting: Iterable[Lane] = (),
        *,
        trials: int,
        lanes: int,
        first_pack: int = 0,
    ) -> None:
        """Queues what is open.

        Args:
            source: Where new trials come from; None trains those that wait, and no others.
            waiting: Trials that were asked and have not ended.
            trials: Budget of the sweep: trials to ask in all.
            lanes: Most lanes of a pack.
            first_pack: Number of the next pack.
        """
        self._source, self._trials, self._lanes = source, trials, lanes
        self._next_pack = first_pack
        self._losses: Counter[tuple[int, int]] = Counter()  # by trial and the epoch that it went on from
        self._split: list[tuple[Lane, ...]] = []
        self._most: dict[tuple[Any, ...], int] = {}  # lanes by structure, where memory has run out
        self._waiting: defaultdict[tuple[Any, ...], list[Lane]] = defaultdict(list)
        self._gone_on: Counter[tuple[Any, ...]] = Counter()  # packs that each group of paused lanes has made
        for lane in waiting:
            self._waiting[lane.group].append(lane)

    @property
    def waiting(self) -> int:
        """Trials asked and not in training; also read by the display's thread."""
        return sum(map(len, self._split)) + sum(map(len, list(self._waiting.values())))

    @property
    def asked(self) -> int:
        """Trials asked so far, ended or not."""
        return self._source.asked if self._source else self._trials

    @property
    def ready(self) -> bool:
        """Whether the next pack needs no further trial to be asked."""
        return bool(self._split) or self._has_full_group()

    @property
    def to_come(self) -> int:
        """Packs that the trials not in training will make, full ones."""
        return math.ceil((self.waiting + max(0, self._trials - self.asked)) / self._lanes)

    @property
    def exhausted(self) -> bool:
        """Whether no trial waits and none is left to ask."""
        return not self.waiting and self.asked >= self._trials

    def next_pack(self) -> PackOrder | None:
        """The next trials to train together, or None when there are none."""
        if self._split:
            return self._start(self._split.pop(0))
        while self._source and self._may_ask:
            asked = self._source.ask()
            lane = Lane(asked.number, 1, asked.config)
            self._waiting[lane.group].append(lane)
        # Of ready packs the one that has come farthest: it ends first, and the fewest trained states have to be kept.
        foremost = max(self._waiting, key=lambda group: (self._readiness(group), group[0]), default=())
        bucket = self._waiting[foremost] if foremost else []
        chosen = tuple(bucket[: self._limit(foremost)])
        del bucket[: len(chosen)]
        self._gone_on[foremost] += 1
        return self._start(chosen) if chosen else None

    def pause(self, lane: Lane) -> None:
        """Takes back a lane that has passed a rung: it waits, trained as it is, for others that have.

        The first pack that goes on from a rung needs a single lane, the next one two, then four, until only full ones
        go: the first trials finish early, for the sampler and the user to see, and few packs are not full.
        """
        self._waiting[lane.group].append(lane)

    def paused(self) -> list[Lane]:
        """The lanes that are trained in part and wait."""
        return [lane for bucket in self._waiting.values() for lane in bucket if lane.epoch]

    def lost(
        self,
        lanes: Sequence[Lane],
        *,
        too_many: int = 0,
        reached: Mapping[int, Reached] = MappingProxyType({}),
    ) -> list[Lane]:
        """Takes back the lanes of a pack that broke before they ended.

        They wait again in two halves, so that one trial that breaks its pack is soon alone, and a pack too
        large for its device shrinks.

        Args:
            lanes: Those that had not ended.
            too_many: How many the pack began with, if it broke for want of memory: later packs of their structure
                take half as many. One alone may have been the victim of other processes, and tells nothing.
            reached: How far the states go that are kept of them, by trial.

        Returns:
            The lanes that were lost too often, without a state that goes farther in between, and are given up.
        """
        if too_many > 1 and lanes:
            group = lanes[0].group
            self._most[group[1:]] = min(self._limit(group), too_many // 2)
        again: defaultdict[tuple[Any, ...], list[Lane]] = defaultdict(list)
        given_up: list[Lane] = []
        for lane in lanes:
            next_time = lane.again(reached.get(lane.trial))
            tries = self._losses[lane.trial, next_time.epoch] = self._losses[lane.trial, next_time.epoch] + 1
            # A trial in company may be its neighbours' victim: only one that breaks alone is given up.
            if len(lanes) == 1 and tries >= LOSSES:
                given_up.append(lane)
            else:
                again[next_time.group].append(next_time)
        for together in again.values():
            middle = (len(together) + 1) // 2
            self._split += [tuple(half) for half in (together[:middle], together[middle:]) if half]
        return given_up

    @property
    def _may_ask(self) -> bool:
        """Whether there is a trial left to ask, and the next pack may need it."""
        enough = self._new >= LOOK_AHEAD * self._lanes or self._has_full_group()
        return self.asked < self._trials and not enough

    @property
    def _new(self) -> int:
        return sum(len(bucket) for group, bucket in self._waiting.items() if not group[0])

    def _has_full_group(self) -> bool:
        return any(self._readiness(group) >= 1 for group in self._waiting)

    def _readiness(self, group: tuple[Any, ...]) -> float:
        """Waiting lanes over those that a pack needs to be started before the budget is asked; at most 1."""
        needed = self._limit(group)
        if group[0]:  # the epochs that its lanes are trained already
            needed = min(needed, 2 ** self._gone_on[group])
        return min(1.0, len(self._waiting[group]) / needed)

    def _limit(self, group: tuple[Any, ...]) -> int:
        return min(self._lanes, self._most.get(group[1:], self._lanes))

    def _start(self, lanes: tuple[Lane, ...]) -> PackOrder:
        order = PackOrder(self._next_pack, lanes, self._limit(lanes[0].group))
        self._next_pack += 1
        return order
