"""Work that goes on is waited for as long as it takes; work that does not is given up."""

import itertools
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from sweeps.errors import SweepError
from sweeps.worker.watchdog import Watchdog, hang_seconds


def waiting_for(event: threading.Event, result: object) -> Callable[[], object]:
    return lambda: event.wait(30) and result


def test_what_the_work_gives_or_raises_comes_out() -> None:
    def broken() -> None:
        raise TimeoutError("of its own")

    watchdog = Watchdog(60)
    assert watchdog.watch(lambda: 7, lambda: None) == 7
    with pytest.raises(TimeoutError, match="of its own"):
        watchdog.watch(broken, lambda: None)
    assert watchdog.watch(lambda: 8, lambda: None) == 8
    assert not watchdog.hung


def test_all_work_is_done_in_one_thread_that_is_not_the_callers() -> None:
    watchdog = Watchdog(60)
    threads = {watchdog.watch(threading.get_ident, lambda: None) for _ in range(3)}
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_work_that_goes_on_may_take_longer_than_the_limit() -> None:
    steps = itertools.count()
    assert Watchdog(0.05).watch(lambda: time.sleep(0.5), lambda: next(steps)) is None


def test_work_that_does_not_go_on_is_given_up_with_both_times() -> None:
    watchdog, end = Watchdog(0.2), threading.Event()
    with pytest.raises(TimeoutError, match=r"^hung: no step of training ended for 0\.2\d* s, the limit is 0\.2 s$"):
        watchdog.watch(waiting_for(end, None), lambda: 3)
    assert watchdog.hung
    end.set()


def test_a_pause_that_ended_allows_one_five_times_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks, end = itertools.count(), threading.Event()  # a clock that goes on by a hundredth whenever it is looked at
    monkeypatch.setattr("sweeps.worker.watchdog.time", SimpleNamespace(monotonic=lambda: next(ticks) / 100))
    seen = itertools.chain([0, 0, 0, 0, 1], itertools.repeat(1))
    with pytest.raises(TimeoutError, match=r"ended for 0\.21 s, the limit is 0\.2 s$"):
        Watchdog(0.05).watch(waiting_for(end, None), lambda: next(seen))
    end.set()


def test_the_limit_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SWEEPS_HANG_SECONDS", raising=False)
    assert hang_seconds() == 600
    monkeypatch.setenv("SWEEPS_HANG_SECONDS", "1.5")
    assert hang_seconds() == 1.5


@pytest.mark.parametrize("text", ["soon", "0", "-3", "nan"])
def test_a_limit_that_is_no_time_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("SWEEPS_HANG_SECONDS", text)
    with pytest.raises(SweepError) as raised:
        hang_seconds()
    assert raised.value.message == (
        f"SWEEPS_HANG_SECONDS: must be a number of seconds above 0, but got {text!r}. Write for example 600."
    )
