"""SIGINT and SIGTERM: held back inside a step of bookkeeping; the first one asks a session to end in order."""

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from sweeps.environment import seconds_of

VARIABLE = "SWEEPS_GRACE_SECONDS"
GRACE_SECONDS = 20.0
"""Time for packs to write their checkpoints, unless the environment says another: Kubernetes kills after 30 s."""
LOOK_SECONDS = 0.5
"""Time between two looks whether Ray is gone, once a signal has come."""
STUCK_SECONDS = 15.0
"""Time to end a session after Ray has gone: Slurm kills after 30."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def grace_seconds() -> float:
    """The time as the environment sets it.

    Raises:
        SweepError: If it is no time.
    """
    return seconds_of(VARIABLE, GRACE_SECONDS)


class OrderlyEnd:
    """While its block runs, the first signal asks for an orderly end, and Ctrl-C after it raises KeyboardInterrupt.

    A second SIGTERM changes nothing: batch systems send it more than once, and kill when their patience ends.

    Args:
        grace_seconds: Time that packs have to write their checkpoints.
        say: Tells the user.
        is_lost: Whether nothing is left to wait for: batch systems end Ray at the same time.
    """

    def __init__(
        self, grace_seconds: float, say: Callable[[str], None], *, is_lost: Callable[[], bool] = lambda: False
    ) -> None:
        self.grace_seconds, self.say, self._is_lost = grace_seconds, say, is_lost
        self._since: float | None = None
        self._handlers: dict[int, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether a signal has come."""
        return self._since is not None

    @property
    def is_over(self) -> bool:
        """Whether the time for an orderly end is up, or Ray is gone."""
        return self._since is not None and (time.monotonic() - self._since >= self.grace_seconds or self._is_lost())

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._ask) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        if not self.asked:
            self._since = time.monotonic()
        elif number == signal.SIGINT:
            raise KeyboardInterrupt


@contextmanager
def rescued(break_off: Callable[[], None], *, is_lost: Callable[[], bool]) -> Iterator[None]:
    """Has another thread end the process if the block is stuck in Ray after a signal, and Ray is gone.

    A batch system ends both at once and kills soon after what is left. Some of Ray's calls wait a minute for a head
    that is dead, also those that the garbage collector makes at any time, and no Python code of their thread runs
    meanwhile, not even a signal's handler.

    Args:
        break_off: Says the last word, and ends the process.
        is_lost: Whether Ray is gone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    over, last_word = threading.Event(), threading.Lock()

    def watch() -> None:
        with reader:
            while (told := reader.recv(1)) and told[0] not in _SIGNALS:
                pass
        while told and not is_lost():
            if over.wait(LOOK_SECONDS):
                return
        over.wait(STUCK_SECONDS)
        with last_word:
            if not over.is_set():
                break_off()

    # The interpreter writes there at once, whatever the main thread is at.
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=watch, name="rescue", daemon=True).start()
    try:
        yield
    finally:
        with last_word:  # not given back while the session is broken off
            over.set()
        signal.set_wakeup_fd(before)
        writer.close()


@contextmanager
def deferred() -> Iterator[None]:
    """Holds back signals that ask the process to end until the block has ended.

    Half a step would leave the books torn: a trial in Parquet that the mirror calls waiting. Python runs signal
    handlers in the main thread only, so in any other thread there is nothing to hold back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        arrived.append(number)

    handlers = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in arrived[:1]:
            signal.raise_signal(number)
