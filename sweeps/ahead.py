"""Asks the sampler for the next pack while the devices train the last one."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

from sweeps.study import AskedTrial, SweepStudy

FIRST_PACKS = 10
"""Packs' worth of trials that are asked when they are needed: early in a sweep each result teaches the sampler much."""


class AskAhead:
    """A study that has trials at hand. Those not handed out when a session ends are open trials of the next one."""

    def __init__(self, study: SweepStudy, *, trials: int) -> None:
        """Starts no thread before `prepare`.

        Args:
            study: Where trials come from.
            trials: Budget of the sweep: trials to ask in all.
        """
        self._study, self._trials, self._handed_out = study, trials, study.asked
        self._ready: deque[AskedTrial] = deque()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ask-ahead")
        self._asking: Future[None] | None = None
        self._closed = False

    @property
    def asked(self) -> int:
        """Number of trials handed out, those of earlier sessions included."""
        return self._handed_out

    def ask(self) -> AskedTrial:
        """The next trial; waits for the sampler if it is at work on it, and raises what it raised."""
        if not self._ready and self._asking:
            asking, self._asking = self._asking, None
            asking.result()
        trial = self._ready.popleft() if self._ready else self._study.ask()
        self._handed_out += 1
        return trial

    def open_trials(self) -> list[AskedTrial]:
        """The trials of earlier sessions that have not ended."""
        return self._study.open_trials()

    def start(self, attempts: dict[int, int]) -> None:
        """Records that trials are being trained, each for so many times."""
        self._study.start(attempts)

    def prepare(self, count: int) -> None:
        """Begins to ask so many trials in the background, within the budget, unless it is at it."""
        if self._closed or self._study.asked < FIRST_PACKS * count or (self._asking and not self._asking.done()):
            return
        if missing := min(count - len(self._ready), self._trials - self._study.asked):
            self._asking = self._thread.submit(self._ask, missing)

    def close(self) -> None:
        """Ends the thread after the trial it is at."""
        self._closed = True
        self._thread.shutdown()

    def _ask(self, count: int) -> None:
        for _ in range(count):
            if self._closed:
                return
            self._ready.append(self._study.ask())
