import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.storages.journal import JournalFileBackend

from search_spaces.space import SearchSpace
from sweeps.search.prefetch import FIRST_PACKS, Prefetch
from sweeps.search.sampling import Drawn, History, Sampling
from sweeps.search.study import AskedTrial, SweepStudy

Space = Callable[..., SearchSpace]
LANES = 2
FIRST = FIRST_PACKS * LANES


@pytest.fixture
def study(tmp_path: Path, small_space: Space) -> SweepStudy:
    return SweepStudy(small_space(), tmp_path / "journal")


def settle(ahead: Prefetch) -> None:
    if ahead._asking:  # pyright: ignore[reportPrivateUsage]
        ahead._asking.result(timeout=20)  # pyright: ignore[reportPrivateUsage]


def test_the_first_packs_are_asked_when_they_are_needed(study: SweepStudy) -> None:
    ahead = Prefetch(study, trials=100, lanes=LANES)
    for number in range(FIRST - 1):
        assert ahead.ask().number == number
        ahead.prepare()
    settle(ahead)
    assert study.asked == ahead.asked == FIRST - 1
    ahead.close()


def test_later_ones_are_at_hand_in_order_and_within_the_budget(study: SweepStudy) -> None:
    ahead = Prefetch(study, trials=FIRST + 5, lanes=LANES)
    numbers = [ahead.ask().number for _ in range(FIRST)]
    while ahead.asked < FIRST + 5:
        ahead.prepare()
        settle(ahead)
        at_hand = min(FIRST + 5, ahead.asked + LANES)
        assert study.asked == at_hand
        numbers.append(ahead.ask().number)
    ahead.prepare()
    settle(ahead)
    assert numbers == list(range(FIRST + 5))
    assert study.asked == FIRST + 5
    ahead.close()


def test_asking_happens_elsewhere_and_whoever_needs_a_trial_waits_for_it(
    study: SweepStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead, may_go, asked_by = Prefetch(study, trials=100, lanes=LANES), threading.Event(), list[str]()
    for _ in range(FIRST):
        ahead.ask()
    ask = study.ask

    def slow() -> AskedTrial:
        asked_by.append(threading.current_thread().name)
        assert may_go.wait(20)
        return ask()

    monkeypatch.setattr(study, "ask", slow)
    ahead.prepare()  # returns while the sampler is at work
    assert ahead.asked == FIRST
    may_go.set()
    assert [ahead.ask().number for _ in range(LANES)] == [FIRST, FIRST + 1]
    assert all(name.startswith("prefetch") for name in asked_by)
    assert len(asked_by) == LANES
    ahead.close()


def test_nobody_who_tells_how_trials_ended_waits_for_a_slow_sampler(
    study: SweepStudy,
    small_space: Space,
    tmp_path: Path,
    ended_row: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ahead, may_go, began, draw = (
        Prefetch(study, trials=100, lanes=LANES),
        threading.Event(),
        threading.Event(),
        Sampling.draw,
    )
    first = [ahead.ask().number for _ in range(FIRST)]

    def slow(sampling: Sampling, number: int, history: History) -> Drawn:
        began.set()
        assert may_go.wait(20)
        return draw(sampling, number, history)

    monkeypatch.setattr(Sampling, "draw", slow)
    ahead.prepare()
    assert began.wait(20)
    teller = threading.Thread(target=lambda: (study.start({first[1]: 1}), study.tell([ended_row(first[0])])))
    teller.start()
    teller.join(10)
    told = not teller.is_alive()
    may_go.set()
    assert told
    assert [ahead.ask().number for _ in range(LANES)] == [FIRST, FIRST + 1]
    ahead.close()
    later = SweepStudy(small_space(), tmp_path / "journal")
    assert [trial.number for trial in later.open_trials()] == list(range(1, FIRST + LANES))


@pytest.mark.parametrize(("together_seconds", "writes"), [(math.inf, 2), (0.0, 8)])
def test_quick_trials_are_asked_in_one_write_after_the_first_and_slow_ones_in_one_each(
    study: SweepStudy, monkeypatch: pytest.MonkeyPatch, together_seconds: float, writes: int
) -> None:
    monkeypatch.setattr("sweeps.search.prefetch.TOGETHER_SECONDS", together_seconds)
    append, written = JournalFileBackend.append_logs, list[int]()

    def counting(file: JournalFileBackend, logs: list[Any]) -> None:
        written.append(len(logs))
        append(file, logs)

    monkeypatch.setattr(JournalFileBackend, "append_logs", counting)
    ahead = Prefetch(study, trials=100, lanes=8)
    assert not ahead.is_ready()
    settle(ahead)
    assert (len(written), sum(written)) == (writes, 8)
    assert [ahead.ask().number for _ in range(8)] == list(range(8))
    ahead.close()


def test_what_was_not_handed_out_waits_for_the_next_session(
    study: SweepStudy, tmp_path: Path, small_space: Space
) -> None:
    ahead = Prefetch(study, trials=100, lanes=LANES)
    for _ in range(FIRST):
        ahead.ask()
    ahead.prepare()
    settle(ahead)
    ahead.close()
    ahead.prepare()  # after the end nothing is asked
    later = SweepStudy(small_space(), tmp_path / "journal")
    assert [trial.number for trial in later.open_trials()] == list(range(FIRST + LANES))
    assert {trial.attempts for trial in later.open_trials()} == {0}
    assert Prefetch(later, trials=100, lanes=LANES).asked == FIRST + LANES


def test_what_the_sampler_raised_reaches_whoever_asks_and_nothing_is_lost(
    study: SweepStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = Prefetch(study, trials=100, lanes=LANES)
    for _ in range(FIRST):
        ahead.ask()
    ask = study.ask

    def breaking() -> AskedTrial:
        if study.asked > FIRST:
            raise OSError("disk full")
        return ask()

    monkeypatch.setattr(study, "ask", breaking)
    ahead.prepare()
    with pytest.raises(OSError, match="disk full"):
        settle(ahead)
    assert ahead.ask().number == FIRST
    with pytest.raises(OSError, match="disk full"):
        ahead.ask()
    monkeypatch.setattr(study, "ask", ask)
    assert ahead.ask().number == FIRST + 1
    ahead.close()


def test_a_pack_is_asked_though_the_journal_cannot_be_written(
    study: SweepStudy, small_space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError("disk full")

    ahead = Prefetch(study, trials=100, lanes=LANES)
    with monkeypatch.context() as patch:
        patch.setattr(JournalFileBackend, "append_logs", full)
        assert not ahead.is_ready()
        with pytest.raises(OSError, match="disk full"):
            settle(ahead)
        assert [ahead.ask().number for _ in range(LANES)] == list(range(LANES))
    assert ahead.ask().number == LANES
    ahead.close()
    assert isinstance(study.place, Path)
    assert SweepStudy(small_space(), study.place).asked == LANES + 1
