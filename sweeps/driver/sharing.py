"""How sweeps on one cluster share it: max-min fairly, in whole packs.

Every driver decides for itself, by what all of them publish: a sweep with more than its share preempts packs as long
as another one waits for its own. Where shares are no whole numbers of packs, sweeps take turns.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from sweeps.driver.plan import PackPlan, Resources
from sweeps.driver.running_pack import RunningPack

SLICE_SECONDS = 120.0
"""How long a sweep trains before it gives away a pack of which a part belongs to it."""
TURN_SECONDS = 30.0
"""How long a sweep leaves to others what it gave away: time for them to start a worker."""
_TINY = 1e-6


@dataclass(frozen=True)
class Demand:
    """What a sweep needs of its cluster.

    Attributes:
        cpus: Cores of a pack.
        gpus: GPUs of a pack.
        begun: Packs in training, apart from preempted ones.
        asked: Packs that have waited for a worker for some seconds: one that is used again takes none.
        most: Packs that it could train at once.
        held_seconds: Time since it last got a worker, or gave one away.
    """

    cpus: float
    gpus: float
    begun: float
    asked: float
    most: float
    held_seconds: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """What a sweep may do.

    Attributes:
        share: Packs that it may train at once while others wait; may be a fraction.
        contested: Whether another sweep waits for what belongs to it.
        allowed: Packs that it may have out while others wait.
        surplus: Packs in training to preempt now.
    """

    share: float
    contested: bool
    allowed: int
    surplus: int


@dataclass(frozen=True)
class Allotment:
    """What a sweep may do now.

    Attributes:
        room: Packs that may be out at a time, apart from those that are preempted.
        preempt: Packs to preempt.
        notes: What keeps packs waiting, for the display.
    """

    room: int
    preempt: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def judge(total: Resources, demands: Mapping[str, Demand], own: str) -> Verdict:
    """What one of the sweeps of a cluster may do.

    Args:
        total: All cores and GPUs of the cluster.
        demands: Of every sweep on it, by name.
        own: The sweep.
    """
    fair, demand = shares(total, demands), demands[own]
    owed = {name: _owed(other, fair[name]) for name, other in demands.items() if name != own}
    # One that has less than its share takes its turn, unless it has just given that to another one.
    is_turn = demand.begun < fair[own] - _TINY and demand.held_seconds >= TURN_SECONDS
    allowed = math.ceil(fair[own] - _TINY) if is_turn else math.floor(fair[own] + _TINY)
    return Verdict(fair[own], any(owed.values()), allowed, _surplus(demands, fair, own))


def shares(total: Resources, demands: Mapping[str, Demand]) -> dict[str, float]:
    """Packs that each sweep may train: max-min fair by the scarcer resource's fraction that a pack takes.

    Args:
        total: All cores and GPUs of the cluster.
        demands: By sweep.
    """
    fractions = {name: _fraction(total, demand) for name, demand in demands.items()}
    wanted = {name: demand.most * fractions[name] for name, demand in demands.items()}
    fair, left = dict[str, float](), 1.0
    for number, name in enumerate(sorted(demands, key=lambda name: wanted[name])):
        granted = min(wanted[name], left / (len(demands) - number))
        left -= granted
        fair[name] = granted / fractions[name] if fractions[name] else 0.0
    return fair


def _fraction(total: Resources, demand: Demand) -> float:
    """The part of the cluster that a pack takes; 0 where the cluster has none of what it needs."""
    parts = [need / there if there else math.inf for need, there in _pairs(total, demand) if need]
    largest = max(parts, default=0.0)
    return largest if math.isfinite(largest) else 0.0


def _pairs(total: Resources, demand: Demand) -> tuple[tuple[float, float], ...]:
    return (demand.cpus, total.cpus), (demand.gpus, total.gpus)


def _owed(demand: Demand, share: float) -> int:
    """Packs that a sweep waits for and that belong to it, or that it is its turn to have."""
    return max(0, min(int(demand.asked), math.ceil(share - demand.begun - _TINY)))


def _surplus(demands: Mapping[str, Demand], fair: Mapping[str, float], own: str) -> int:
    """Packs that `own` preempts so that others get theirs: first whole ones, then by turns."""
    owed = sum(_owed(demand, fair[name]) for name, demand in demands.items())
    over = {name: round(demand.begun - fair[name], 6) for name, demand in demands.items()}
    givers = sorted(demands, key=lambda name: (-over[name], -demands[name].held_seconds, name))
    given = dict.fromkeys(demands, 0)
    for is_turn in (False, True):
        for name in givers:
            spare = math.floor(over[name] + _TINY)
            if is_turn:
                spare = int(demands[name].held_seconds >= SLICE_SECONDS and over[name] - given[name] > _TINY)
            taken = max(0, min(spare, owed))
            given[name] += taken
            owed -= taken
    return given[own]


class MachineShare:
    """This machine, which the sweep has for itself: room for as many packs as planned."""

    def __init__(self, plan: PackPlan) -> None:
        self._room = plan.concurrent

    def look(self, packs: Mapping[int, RunningPack]) -> Allotment:
        """What the sweep may do with its packs out."""
        waiting = 0 if count_packs(packs, begun=True) else count_packs(packs, begun=False)
        return Allotment(self._room, notes=starting(waiting))


def count_packs(packs: Mapping[int, RunningPack], *, begun: bool) -> int:
    """How many of these have begun to train, or wait for a worker."""
    return sum((pack.begun is not None) == begun for pack in packs.values())


def starting(workers: int) -> tuple[str, ...]:
    """The note while no pack has begun."""
    return (f"starting {workers} worker{'s' if workers > 1 else ''}",) if workers else ()
