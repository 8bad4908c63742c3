import os
import signal
import threading
from types import FrameType

import pytest

from sweeps.signals import deferred, rescued


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


@pytest.mark.parametrize(("told", "lost"), [(True, True), (True, False), (False, True)])
def test_a_session_stuck_in_a_ray_that_is_gone_is_broken_off_after_a_signal_and_no_other(
    monkeypatch: pytest.MonkeyPatch, told: bool, lost: bool
) -> None:
    monkeypatch.setattr("sweeps.signals.STUCK_SECONDS", 0.05)
    monkeypatch.setattr("sweeps.signals.LOOK_SECONDS", 0.01)
    last_word, before = threading.Event(), signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with rescued(last_word.set, is_lost=lambda: lost):
            if told:
                signal.raise_signal(signal.SIGTERM)
            assert last_word.wait(20 if told and lost else 0.5) is (told and lost)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert signal.set_wakeup_fd(-1) == -1
