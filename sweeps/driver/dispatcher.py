"""Between an executor and a session: hands out packs, takes reports, and ends in order when a signal asks for it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from sweeps.driver.queue import TrialQueue
from sweeps.driver.running_pack import RunningPack
from sweeps.driver.session import Session
from sweeps.driver.sharing import Allotment
from sweeps.objectives import Claim
from sweeps.search.prefetch import Prefetch
from sweeps.signals import OrderlyEnd
from sweeps.worker.messages import PackOrder, PackReport

LOST = "the worker process died"


class Share(Protocol):
    """Says what a sweep may use of the machines."""

    def look(self, packs: Mapping[int, RunningPack]) -> Allotment:
        """What the sweep may do now with the packs that it has out."""
        ...


class Dispatcher:
    """What an executor works through.

    Nothing here raises for what a pack did: that is a result, or is tried again.

    Args:
        queue: Where packs come from.
        session: Where reports go.
        share: How many packs may be handed out at a time, and which are to be given back.
        end: Whether the session was asked to end.
        rivals: What a network must not be beaten by to be wanted; None wants none.
        prefetch: Samples trials in the background; None where all trials are known.
    """

    def __init__(
        self,
        queue: TrialQueue,
        session: Session,
        *,
        share: Share,
        end: OrderlyEnd,
        rivals: Callable[[], list[Claim]] | None = None,
        prefetch: Prefetch | None = None,
    ) -> None:
        self._queue, self._session, self._share, self._end = queue, session, share, end
        self._rivals, self._prefetch = rivals, prefetch
        self._errors: dict[int, tuple[str, bool]] = {}

    @property
    def is_done(self) -> bool:
        """Whether no pack is out and none is left."""
        return not self._session.packs and self._queue.exhausted

    def next_order(self) -> PackOrder | None:
        """The next pack to train; None for not now, or, when all is done, for never.

        Raises:
            KeyboardInterrupt: When a signal asked the session to end, and nothing is left to wait for.
        """
        if self._end.asked:
            self.end_in_order()
            return None
        session, allotment = self._session, self._share.look(self._session.packs)
        session.note(allotment.notes)
        session.preempt(number for number in allotment.preempt if number in session.packs)
        staying = sum(not pack.preempted for pack in session.packs.values())
        if staying >= allotment.room or (session.packs and not self._is_ready):
            return None  # the executor asks again soon, and meanwhile hears what the packs in training report
        try:
            order = self._queue.next_pack()
        except OSError as error:  # the disk is full or the database away: what was asked so far waits in the queue
            session.writing_failed(error)
            return None
        if order is None:
            return None
        order = replace(order, rivals=tuple(self._rivals()) if self._rivals else None)
        session.start(order)
        if self._prefetch:
            self._prefetch.prepare()
        return order

    def end_in_order(self) -> None:
        """Has packs in training write their checkpoints, if a signal asked the session to end.

        Raises:
            KeyboardInterrupt: When they have, or the time for it is up.
        """
        if not self._end.asked:
            return
        packs = [number for number, pack in self._session.packs.items() if pack.begun is not None]
        if not packs or self._end.is_over:
            raise KeyboardInterrupt
        within = "" if math.isinf(self._end.grace_seconds) else f", within {self._end.grace_seconds:g} s"
        notes = (f"ending: packs write their checkpoints{within}",)
        if self._session.notes != notes:
            self._session.note(notes)
            self._end.say(f"{notes[0]}; Ctrl-C does not wait for them")
        self._session.preempt(packs, ending=True)

    def take(self, report: PackReport) -> None:
        """A pack reported."""
        if report.error:
            self._errors[report.pack] = report.error, report.out_of_memory
        self._session.report(report)

    def close(self, number: int) -> None:
        """A pack is over; what it has not reported as ended was lost."""
        reason, out_of_memory = self._errors.pop(number, (LOST, False))
        if number in self._session.packs:
            self._session.close_pack(number, reason, out_of_memory=out_of_memory)

    def lose_all(self, reason: str) -> None:
        """All packs were lost together.

        Raises:
            SweepError: If that happens again and again without a trial that ends.
        """
        self._errors.clear()
        self._session.lose_packs(reason)

    @property
    def _is_ready(self) -> bool:
        """Whether a pack can be had without waiting for the sampler; if not, it is set to work."""
        return self._queue.ready or self._prefetch is None or self._prefetch.is_ready()
