"""Asks the sampler for the next pack while the devices train the last one."""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from sweeps.search.study import AskedTrial, SweepStudy

FIRST_PACKS = 10
"""Packs' worth of trials that are asked when they are needed: early in a sweep each result teaches the sampler much."""
TOGETHER_SECONDS = 1.0
"""Time that trials may take which are asked in one write: whoever tells the study how others ended waits so long."""


class Prefetch:
    """Samples trials in a background thread. Those not handed out when a session ends are open trials of the next."""

    def __init__(
        self, study: SweepStudy, *, trials: int, lanes: int, settled: Callable[[], None] = lambda: None
    ) -> None:
        """Nothing is asked yet.

        Args:
            study: Where trials come from.
            trials: Budget of the sweep: trials to ask in all.
            lanes: Trials of a pack: so many are prefetched.
            settled: Returns when the study was told all that is known, called before it is asked.
        """
        self._study, self._trials, self._handed_out = study, trials, study.asked
        self._lanes = lanes
        self._settled = settled
        self._ready: deque[AskedTrial] = deque()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")
        self._asking: Future[None] | None = None
        self._closed = False

    @property
    def asked(self) -> int:
        """Number of trials handed out, those of earlier sessions included."""
        return self._handed_out

    def ask(self) -> AskedTrial:
        """The next trial; waits for the sampler if it is not at hand, and raises what that raised."""
        if not self._ready:
            self._begin(1)
        if not self._ready and self._asking:
            asking, self._asking = self._asking, None
            asking.result()
        trial = self._ready.popleft() if self._ready else self._study.ask()
        self._handed_out += 1
        return trial

    def is_ready(self) -> bool:
        """Whether a pack's trials, or all that are left, are at hand; if not, they are asked for in the background."""
        if len(self._ready) >= min(self._lanes, self._trials - self._handed_out):
            return True
        if self._asking and self._asking.done() and self._asking.exception():
            return True  # for `ask` to raise it
        self._begin(self._lanes)
        return False

    def prepare(self) -> None:
        """Begins to ask a pack's trials in the background, within the budget; early in a sweep nothing is asked yet."""
        if self._study.asked >= FIRST_PACKS * self._lanes:
            self._begin(self._lanes)

    def _begin(self, count: int) -> None:
        missing = min(count - len(self._ready), self._trials - self._study.asked)
        if missing > 0 and not self._closed and not (self._asking and not self._asking.done()):
            self._asking = self._thread.submit(self._ask, missing)

    def close(self) -> None:
        """Ends the thread after the trial it is at."""
        self._closed = True
        self._thread.shutdown()

    def _ask(self, count: int) -> None:
        """Asks one by one until the last one was so quick that the others are worth a single write.

        Random trials take less than a millisecond each, their writes ten. Those of a Gaussian process take seconds, and
        nothing that ends may wait for a whole pack of them. Where a journal cannot be written, all are asked together:
        they wait in memory for its next write, and the devices go on.
        """
        self._settled()
        asked = list[AskedTrial]()
        try:
            while (missing := count - len(asked)) and not self._closed:
                began = time.monotonic()
                with suppress(OSError):
                    asked.append(self._study.ask())
                is_quick = (missing - 1) * (time.monotonic() - began) < TOGETHER_SECONDS
                if is_quick or len(asked) == count - missing:
                    with self._study.together():
                        while len(asked) < count and not self._closed:
                            asked.append(self._study.ask())
        finally:
            self._ready += asked
