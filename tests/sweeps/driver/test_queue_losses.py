"""What becomes of trials whose packs were lost or found no memory, against a study that only counts."""

from collections import Counter, deque
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.driver.queue import LOSSES, Lane, PackOrder, TrialQueue
from tests.sweeps.counting_study import BEGAN, CountingStudy, config, drain, numbers, paused, reached, take


def test_a_lost_pack_comes_back_in_two_halves_before_anything_new() -> None:
    study = CountingStudy()
    queue = TrialQueue(study, trials=8, lanes=5)
    first = queue.next_pack()
    assert first is not None
    assert queue.lost(first.lanes) == []
    assert queue.waiting == 5
    packs = drain(queue)
    assert numbers(packs) == [[0, 1, 2], [3, 4], [5, 6, 7]]
    assert [lane.attempt for pack in packs for lane in pack.lanes] == [2, 2, 2, 2, 2, 1, 1, 1]


def test_only_the_lanes_that_had_not_ended_come_back() -> None:
    queue = TrialQueue(CountingStudy(), trials=4, lanes=4)
    pack = queue.next_pack()
    assert pack is not None
    assert queue.lost(pack.lanes[2:]) == []
    assert numbers(drain(queue)) == [[2], [3]]
    assert queue.lost([]) == []
    assert queue.exhausted


def test_a_lane_keeps_its_configuration_when_it_starts_again() -> None:
    queue = TrialQueue(CountingStudy(), trials=2, lanes=2)
    pack = queue.next_pack()
    assert pack is not None
    queue.lost(pack.lanes)
    again = [lane for order in drain(queue) for lane in order.lanes]
    assert again == [Lane(lane.trial, 2, lane.config) for lane in pack.lanes]


def test_a_paused_lane_that_is_lost_starts_again() -> None:
    queue = TrialQueue(CountingStudy(), trials=0, lanes=2)
    queue.pause(paused(7, 9))
    assert queue.paused() == [paused(7, 9)]
    (pack,) = drain(queue)
    queue.lost(pack.lanes)
    (again,) = drain(queue)
    assert again.lanes == (Lane(7, 2, config(7)),)
    assert queue.paused() == []


def test_a_lost_pack_whose_lanes_have_states_of_two_epochs_comes_back_in_packs_of_one() -> None:
    queue = TrialQueue(CountingStudy(), trials=6, lanes=6)
    (first,) = take(queue, 1)
    assert queue.lost(first.lanes, reached={trial: reached(trial, 3) for trial in (1, 2, 4)}) == []
    packs = drain(queue)
    assert [(pack.epoch, [lane.trial for lane in pack.lanes]) for pack in packs] == [
        (0, [0, 3]), (0, [5]), (3, [1, 2]), (3, [4]),
    ]  # fmt: skip
    assert {lane.attempt for pack in packs for lane in pack.lanes if pack.epoch} == {1}
    assert packs[2].lanes[0] == Lane(1, 1, config(1), epoch=3, seconds=1.5, started=BEGAN)


def work(queue: TrialQueue, breaks: Callable[[PackOrder], bool]) -> tuple[Counter[int], list[int], Counter[int]]:
    """Trains packs to the end; `breaks` says which are lost. Counts finished, given up and started trials."""
    finished: Counter[int] = Counter()
    given_up: list[int] = []
    started: Counter[int] = Counter()
    while pack := queue.next_pack():
        started.update(lane.trial for lane in pack.lanes)
        if breaks(pack):
            given_up += [lane.trial for lane in queue.lost(pack.lanes)]
        else:
            finished.update(lane.trial for lane in pack.lanes)
    return finished, given_up, started


@pytest.mark.parametrize("bad", [0, 5, 15])
def test_a_trial_that_breaks_every_pack_is_given_up_and_its_neighbours_are_not(bad: int) -> None:
    queue = TrialQueue(CountingStudy(), trials=16, lanes=16)
    finished, given_up, started = work(queue, lambda pack: bad in [lane.trial for lane in pack.lanes])
    assert given_up == [bad]
    assert finished == Counter(trial for trial in range(16) if trial != bad)
    # In company of 16, 8, 4 and 2, then alone: by then it has been lost often enough.
    assert started[bad] == 5


def test_a_trial_that_breaks_alone_has_three_tries() -> None:
    queue = TrialQueue(CountingStudy(), trials=2, lanes=1)
    finished, given_up, started = work(queue, lambda pack: pack.lanes[0].trial == 0)
    assert (given_up, started[0], LOSSES) == ([0], 3, 3)
    assert finished == Counter([1])


def test_a_trial_that_is_lost_often_but_gets_on_is_not_given_up() -> None:
    queue = TrialQueue(CountingStudy(), trials=1, lanes=1)
    for epoch in range(1, 4 * LOSSES):
        (pack,) = take(queue, 1)
        assert queue.lost(pack.lanes, reached={0: reached(0, epoch)}) == []
    given_up = list[Lane]()
    for _ in range(LOSSES - 1):  # it has been lost at the last epoch once
        (pack,) = take(queue, 1)
        given_up = queue.lost(pack.lanes, reached={0: reached(0, 4 * LOSSES - 1)})
    assert [lane.trial for lane in given_up] == [0]


def test_a_pack_too_large_for_its_device_shrinks_until_it_fits() -> None:
    queue = TrialQueue(CountingStudy(), trials=12, lanes=12)
    finished, given_up, _ = work(queue, lambda pack: len(pack.lanes) > 3)
    assert given_up == []
    assert finished == Counter(range(12))


@given(st.lists(st.booleans(), max_size=200), st.integers(1, 12), st.integers(1, 5))
def test_whatever_is_lost_every_trial_ends_once(losses: list[bool], trials: int, lanes: int) -> None:
    fate = deque(losses)
    queue = TrialQueue(CountingStudy([32, 64]), trials=trials, lanes=lanes)
    finished, given_up, started = work(queue, lambda _: bool(fate) and fate.popleft())
    assert finished + Counter(given_up) == Counter(range(trials))
    assert queue.exhausted
    assert all(started[trial] >= LOSSES for trial in given_up)


@given(st.sets(st.integers(0, 19)), st.integers(1, 8))
def test_if_some_trials_always_break_exactly_these_are_given_up(bad: set[int], lanes: int) -> None:
    queue = TrialQueue(CountingStudy([32, 64, 64]), trials=20, lanes=lanes)
    finished, given_up, _ = work(queue, lambda pack: any(lane.trial in bad for lane in pack.lanes))
    assert sorted(given_up) == sorted(bad)
    assert sorted(finished) == sorted(set(range(20)) - bad)


def test_out_of_memory_halves_the_packs_of_that_structure_only() -> None:
    queue = TrialQueue(CountingStudy([32, 64]), trials=32, lanes=8)
    (first,) = take(queue, 1)
    assert len(first.lanes) == 8
    assert queue.lost(first.lanes, too_many=8) == []
    sizes: dict[int, list[int]] = {32: [], 64: []}
    trials: list[int] = []
    for pack in drain(queue):
        sizes[pack.lanes[0].config.batch_size].append(len(pack.lanes))
        assert pack.slots == (4 if pack.lanes[0].config.batch_size == 32 else 8)
        trials += [lane.trial for lane in pack.lanes]
    assert sizes == {32: [4, 4, 4, 4], 64: [8, 8]}
    assert sorted(trials) == list(range(32))


def test_what_is_left_of_a_pack_says_little_of_how_many_fit() -> None:
    queue = TrialQueue(CountingStudy(), trials=40, lanes=8)
    first, second, third = take(queue, 3)
    queue.lost(first.lanes[:1], too_many=8)  # seven had ended
    assert take(queue, 1)[0].slots == 4
    queue.lost(second.lanes, too_many=4)
    queue.lost(third.lanes, too_many=8)  # an older pack, larger than the limit that was found since
    assert {pack.slots for pack in take(queue, 4)} == {2}


def test_a_trial_alone_that_found_no_memory_leaves_the_others_their_packs() -> None:
    queue = TrialQueue(CountingStudy(), trials=9, lanes=8)
    queue.pause(paused(20, 9))
    (alone,) = take(queue, 1)
    assert len(alone.lanes) == 1
    queue.lost(alone.lanes, too_many=1)
    assert [len(pack.lanes) for pack in drain(queue)] == [1, 8, 1]


def test_a_device_that_holds_so_many_lanes_gets_them_all_trained() -> None:
    # As a sweep on it goes: packs of more than three lanes run out of memory.
    queue, trained = TrialQueue(CountingStudy(), trials=40, lanes=16), Counter[int]()
    while pack := queue.next_pack():
        if len(pack.lanes) > 3:
            assert queue.lost(pack.lanes, too_many=len(pack.lanes)) == []
        else:
            trained.update(lane.trial for lane in pack.lanes)
    assert trained == Counter(range(40))


def test_a_trial_that_does_not_fit_alone_is_given_up() -> None:
    queue, given_up = TrialQueue(CountingStudy(), trials=1, lanes=4), list[Lane]()
    for attempt in range(1, LOSSES + 1):
        assert given_up == []
        (pack,) = take(queue, 1)
        assert [lane.attempt for lane in pack.lanes] == [attempt]
        given_up = queue.lost(pack.lanes, too_many=len(pack.lanes))
    assert [lane.trial for lane in given_up] == [0]
    assert queue.exhausted
