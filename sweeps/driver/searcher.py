"""Between Ray Tune and the sweep: hands out packs, passes on what they report."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ray.tune.search import Searcher

from sweeps.driver.queue import TrialQueue
from sweeps.driver.session import RunningPack, Session
from sweeps.driver.sharing import Allotment
from sweeps.signals import OrderlyEnd, deferred
from sweeps.store.masks import MaskStore


class Share(Protocol):
    """Says what a sweep may use; see `sweeps.driver.cluster_share`."""

    def look(self, packs: Mapping[int, RunningPack]) -> Allotment:
        """What the sweep may do now with the packs that it has out."""
        ...


class PackSearcher(Searcher):
    """A Tune searcher whose every suggestion is a pack.

    Tune's loop dies of an exception in a searcher, so nothing here raises for what a pack did; and it
    repeats a call for work until it gets some, so an empty queue answers "not now" while a pack in
    training may still be lost and its trials come back. A Ctrl-C waits until a call is over.
    """

    def __init__(
        self,
        queue: TrialQueue,
        session: Session,
        masks: MaskStore,
        *,
        cpus: int,
        gpus: float,
        objectives: Mapping[str, str],
        share: Share,
        end: OrderlyEnd,
        ready: Callable[[], bool] = lambda: True,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        """Takes the sweep's queue and books.

        Args:
            queue: Where packs come from.
            session: Where reports go.
            masks: Knows which trials a pack's trials must beat for their masks to be worth sending.
            cpus: Threads of a pack.
            gpus: GPUs of a pack; with none it trains on the CPU, also where there is one.
            objectives: Metrics to `maximize` or `minimize`.
            share: How many packs may be handed out at a time, and which are to be given back.
            end: Whether the session was asked to end.
            ready: Whether a pack can be had without waiting for the sampler; if not, it is set to work.
            prepare: Called when a pack was handed out, to ask for the next one meanwhile; returns at once.
        """
        super().__init__(metric="pack", mode="max")
        self._queue, self._session, self._masks, self._cpus, self._gpus = queue, session, masks, cpus, gpus
        self._share, self._end, self._ready, self._prepare = share, end, ready, prepare
        self._objectives = [list(pair) for pair in objectives.items()]
        self._packs: dict[str, int] = {}
        self._errors: dict[str, tuple[str, bool]] = {}

    @deferred()
    def suggest(self, trial_id: str) -> Any:  # Tune's own annotation leaves FINISHED, a string, out
        """The next pack as a Tune configuration; None while there is nothing to do, FINISHED when all is done."""
        if self._end.asked:
            return self._end_in_order()
        allotment = self._share.look(self._session.packs)
        self._session.notes = allotment.notes
        self._session.preempt(number for number in allotment.preempt if number in self._session.packs)
        staying = sum(not pack.preempted for pack in self._session.packs.values())
        if staying >= allotment.room or (self._packs and not self._ready()):
            return None  # Tune asks again soon, and meanwhile hears what the packs in training report
        try:
            order = self._queue.next_pack()
        except OSError as error:  # the disk is full or the database away: what was asked so far waits in the queue
            self._session.recorder.disk_fault = str(error)
            return None
        if order is None:
            return None if self._packs else Searcher.FINISHED
        self._packs[trial_id] = order.number
        self._session.start(order)
        self._prepare()
        return {
            "pack": order.number,
            "cpus": self._cpus,
            "gpus": self._gpus,
            "slots": order.slots,
            "epoch": order.epoch,
            "lanes": order.to_rows(),
            "objectives": self._objectives,
            "rivals": [list(costs) for costs in self._masks.rivals],
        }

    def _end_in_order(self) -> None:
        """Waits for packs in training to write their checkpoints.

        Raises:
            KeyboardInterrupt: When they have, or the time for it is up: Tune has no other end in between.
        """
        packs = [number for number, pack in self._session.packs.items() if pack.begun is not None]
        if not packs or self._end.is_over:
            raise KeyboardInterrupt
        notes = (f"ending: packs write their checkpoints, within {self._end.grace_seconds:g} s",)
        if self._session.notes != notes:
            self._session.notes = notes
            self._end.say(f"{notes[0]}; Ctrl-C does not wait for them")
        self._session.preempt(packs, ending=True)

    @deferred()
    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A pack reported."""
        self._take(trial_id, result)

    @deferred()
    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A pack is over. Tune passes the last report here only, when it came with `done`."""
        if result and not error:
            self._take(trial_id, result)
        reason, out_of_memory = self._errors.pop(trial_id, ("the worker process died", False))
        if trial_id in self._packs:
            self._session.close_pack(self._packs.pop(trial_id), reason, out_of_memory=out_of_memory)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the truth, and a new session reads it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, see `save`."""

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its searcher beside its own state, which no session here ever reads.
        return {}

    def _take(self, trial_id: str, result: dict[str, Any]) -> None:
        if result.get("error"):
            self._errors[trial_id] = result["error"], result["out_of_memory"]
        self._session.report(result | {"ended": [dict(row) for row in result["ended"]]})
        for row in result["ended"]:
            row.pop("artifact", None)  # Tune keeps the last report of every pack, and writes it down again and again
