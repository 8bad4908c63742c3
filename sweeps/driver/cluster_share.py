"""What a sweep may use of its cluster at any moment: nodes join and leave, other sweeps come and go."""

import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import ray
from ray._private.state import state as cluster_state
from ray.exceptions import RayError
from ray.util import list_named_actors

from sweeps.driver.cluster import NAMESPACE, resources_of
from sweeps.driver.plan import PackPlan, Resources
from sweeps.driver.queue import TrialQueue
from sweeps.driver.running_pack import RunningPack
from sweeps.driver.sharing import SLICE_SECONDS, Allotment, Demand, count_packs, judge, starting
from sweeps.worker.ray_worker import RemoteCheckpoints

LOOK_SECONDS = 1.0
"""Time between two looks at the cluster."""
STARTING = timedelta(seconds=5)
"""Time for a pack to begin in a worker that is used again."""
FRUITLESS_SECONDS = 60.0
"""Time after which packs are not held back any more for sweeps that do not take what they were left."""

Packs = Mapping[int, RunningPack]


class ClusterShare:
    """The share of one sweep in a cluster.

    Args:
        plan: Says what a pack needs.
        checkpoints: The way to the sweep's actor, where other drivers ask what it needs.
        name: Of that actor.
        most: Packs that may be handed out at a time; None for as many as there is room for, and one more: it waits, so
            that an autoscaler knows to add a node.
        queue: Knows how many packs are to come.
    """

    def __init__(
        self, plan: PackPlan, checkpoints: RemoteCheckpoints, name: str, *, most: int | None, queue: TrialQueue
    ) -> None:
        self._plan, self._checkpoints, self._name, self._most, self._queue = plan, checkpoints, name, most, queue
        self._looked, self._allotment = -math.inf, Allotment(0)
        self._held = time.monotonic() - SLICE_SECONDS
        self._others: dict[str, Any] = {}
        self._demands: dict[str, Demand] = {}
        self._idle_since: float | None = None

    def look(self, packs: Packs) -> Allotment:
        """What the sweep may do with its packs out; looks at the cluster once a second."""
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._allotment = self._decide(packs, now)
        return self._allotment

    def _decide(self, packs: Packs, now: float) -> Allotment:
        total, free = (resources_of(found) for found in (ray.cluster_resources(), ray.available_resources()))
        doomed = cluster_state.get_draining_nodes()
        leaving = {number for number, pack in packs.items() if pack.preempted or pack.node in doomed}
        staying = {number: pack for number, pack in packs.items() if number not in leaving}
        own = self._demand(staying, now)
        self._checkpoints.publish([own.cpus, own.gpus, own.begun, own.asked, own.most, own.held_seconds])
        self._hear()
        verdict = judge(total, self._demands | {self._name: own}, self._name)
        contested = verdict.contested and not self._in_vain(free, now)
        allowed = self._most or total.packs(self._plan.cpus, self._plan.gpus) + 1
        if contested:
            allowed = min(allowed, verdict.allowed)
            if verdict.surplus:
                self._held = now
            leaving |= self._surplus(staying, allowed, verdict.surplus)
        return Allotment(allowed, tuple(leaving), self._notes(staying, total, free))

    def _demand(self, packs: Packs, now: float) -> Demand:
        began, until = count_packs(packs, begun=True), datetime.now(UTC) - STARTING
        asked = sum(pack.begun is None and pack.handed_out < until for pack in packs.values())
        self._held = max([self._held, *(pack.begun for pack in packs.values() if pack.begun and pack.is_fresh)])
        useful = len(packs) + self._queue.to_come
        most = min(self._most, useful) if self._most else useful
        return Demand(self._plan.cpus, self._plan.gpus, began, asked, most, now - self._held)

    def _hear(self) -> None:
        """Takes what other drivers have published; one that does not answer in time is heard the next time."""
        listed: list[Any] = list_named_actors(all_namespaces=True)
        names = {found["name"] for found in listed if found["namespace"] == NAMESPACE} - {self._name}
        self._others = {name: asked for name, asked in self._others.items() if name in names}
        self._demands = {name: demand for name, demand in self._demands.items() if name in names}
        for name in names:
            try:
                if name not in self._others:
                    self._others[name] = ray.get_actor(name, namespace=NAMESPACE).demand.remote()
                if ray.wait([self._others[name]], timeout=0)[0]:
                    published = ray.get(self._others.pop(name))
                    if published and self._fits(Demand(*published)):
                        self._demands[name] = Demand(*published)
            except (ValueError, TypeError, RayError):  # it has just ended, or is of another version
                self._others.pop(name, None)
                self._demands.pop(name, None)

    def _fits(self, demand: Demand) -> bool:
        """Whether some node has room for a pack: others must not wait for one that can never begin."""
        nodes = (resources_of(node["Resources"]) for node in ray.nodes() if node["Alive"])
        return any(node.cpus >= demand.cpus and node.gpus >= demand.gpus for node in nodes)

    def _in_vain(self, free: Resources, now: float) -> bool:
        """Whether the cluster has long had room for a pack that others wait for, e.g. in parts on several nodes."""
        waiting = [demand for demand in self._demands.values() if demand.asked]
        if not any(free.packs(demand.cpus, demand.gpus) for demand in waiting):
            self._idle_since = None
            return False
        self._idle_since = self._idle_since or now
        return now - self._idle_since > FRUITLESS_SECONDS

    def _surplus(self, packs: Packs, allowed: int, surplus: int) -> set[int]:
        """Packs that have not begun, beyond what is allowed; and of those in training so many of the youngest."""
        begun = sorted(
            (number for number, pack in packs.items() if pack.begun is not None),
            key=lambda number: (packs[number].begun, number),
        )
        given = begun[len(begun) - surplus :] if surplus else []
        waiting = sorted(packs.keys() - begun)
        return {*given, *waiting[max(0, allowed - (len(begun) - len(given))) :]}

    def _notes(self, packs: Packs, total: Resources, free: Resources) -> tuple[str, ...]:
        if count_packs(packs, begun=True) or not (asked := count_packs(packs, begun=False)):
            return ()
        plan = self._plan
        if free.packs(plan.cpus, plan.gpus):
            return starting(asked)
        others = f", which {len(self._demands)} more sweep{'s use' if len(self._demands) > 1 else ' uses'}"
        scarce = plan.gpus and free.gpus < plan.gpus
        there = f"{free.gpus:g} of {total.gpus:g} GPUs" if scarce else f"{free.cpus:g} of {total.cpus:g} cores"
        needed = f"{plan.gpus:g}" if scarce else f"{plan.cpus:g}"
        return (f"waits for the cluster{others if self._demands else ''}: {there} free, its packs need {needed}",)
