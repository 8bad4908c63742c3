import os
import signal
import threading
from types import FrameType

import pytest

from sweeps.signals import deferred


def test_an_interrupt_waits_for_the_end_of_the_block() -> None:
    steps: list[int] = []

    def work() -> None:
        with deferred():
            steps.append(1)
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            steps.append(2)
        steps.append(3)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == [1, 2]
    assert signal.getsignal(signal.SIGINT) is handler


def test_without_an_interrupt_nothing_happens() -> None:
    with deferred():
        pass


def test_the_handler_that_was_set_hears_of_it() -> None:
    heard: list[int] = []

    def hear(number: int, _: FrameType | None) -> None:
        heard.append(number)

    before = signal.signal(signal.SIGTERM, hear)
    try:
        with deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            assert heard == []
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_error_in_the_block_is_not_lost_when_nobody_interrupts() -> None:
    with pytest.raises(ValueError, match="bang"), deferred():
        raise ValueError("bang")


def test_other_threads_have_nothing_to_hold_back() -> None:
    handler, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with deferred():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(20)
    assert seen == [handler]
