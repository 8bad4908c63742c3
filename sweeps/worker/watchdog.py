"""Work that hangs is given up: it runs in a thread of its own, while another one looks whether it goes on."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import Any

from sweeps.environment import seconds_of

VARIABLE = "SWEEPS_HANG_SECONDS"
HANG_SECONDS = 600.0
"""Time without a step of training from which a pack counts as hanging, unless the environment says another."""
PATIENCE = 5
"""A pack that has paused before may pause for so many times as long."""


def hang_seconds() -> float:
    """The limit as the environment sets it.

    Raises:
        SweepError: If it is no time.
    """
    return seconds_of(VARIABLE, HANG_SECONDS)


class Watchdog:
    """One thread that works, call by call; whoever calls waits as long as the work goes on.

    Args:
        least_seconds: Limit without progress. It grows to `PATIENCE` times the longest pause that has ended by itself.
    """

    def __init__(self, least_seconds: float) -> None:
        self.hung = False
        self._least_seconds, self._longest = least_seconds, 0.0
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        # A daemon: whoever ends this process must not wait for a thread that hangs.
        threading.Thread(target=self._work, name="trains", daemon=True).start()

    def watch(self, work: Callable[[], Any], progress: Callable[[], object]) -> Any:
        """Does some work and returns what it gives.

        Args:
            work: Raises what it likes.
            progress: Tells something that changes while the work goes on.

        Raises:
            TimeoutError: If nothing has changed for longer than the limit. The thread is lost then: end the process.
        """
        done: Future[Any] = Future()
        self._calls.put((done, work))
        seen, since = progress(), time.monotonic()
        while not wait([done], min(1.0, self._least_seconds / 10)).done:
            now = time.monotonic()
            if (found := progress()) != seen:
                self._longest = max(self._longest, now - since)
                seen, since = found, now
            elif now - since > (limit := max(self._least_seconds, PATIENCE * self._longest)):
                self.hung = True
                raise TimeoutError(
                    f"hung: no step of training ended for {now - since:.3g} s, the limit is {limit:.3g} s"
                )
        return done.result()

    def _work(self) -> None:
        while True:
            done, work = self._calls.get()
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)
