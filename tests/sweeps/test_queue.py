"""The queue against a study that only counts."""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supermask.config import TrainConfig
from sweeps.packs.checkpoints import Reached
from sweeps.queue import LOOK_AHEAD, LOSSES, Lane, PackOrder, TrialQueue
from sweeps.study import AskedTrial


class CountingStudy:
    """Asks for trials whose batch sizes repeat a pattern."""

    def __init__(self, batch_sizes: Sequence[int] = (64,), left_open: Sequence[AskedTrial] = ()) -> None:
        self.asked = len(left_open)
        self._batch_sizes: Iterator[int] = cycle(batch_sizes)
        self._open = list(left_open)

    def ask(self) -> AskedTrial:
        asked = AskedTrial(self.asked, config(self.asked, next(self._batch_sizes)))
        self.asked += 1
        return asked

    def open_trials(self) -> list[AskedTrial]:
        return self._open


def config(seed: int, batch_size: int = 64) -> TrainConfig:
    return TrainConfig(dataset="digits", batch_size=batch_size, seed=seed)


def drain(queue: TrialQueue) -> list[PackOrder]:
    return list(iter(queue.next_pack, None))


def take(queue: TrialQueue, count: int) -> list[PackOrder]:
    return [pack for pack in (queue.next_pack() for _ in range(count)) if pack]


def numbers(packs: Sequence[PackOrder]) -> list[list[int]]:
    return [[lane.trial for lane in pack.lanes] for pack in packs]


@pytest.mark.parametrize(
    ("trials", "lanes", "batch_sizes", "packs"),
    [
        (5, 2, [64], [[0, 1], [2, 3], [4]]),
        (3, 8, [64], [[0, 1, 2]]),
        (3, 1, [64], [[0], [1], [2]]),
        (1, 1, [32, 64], [[0]]),
        # The structures alternate: asked ahead until one of them fills a pack.
        (6, 3, [32, 64], [[0, 2, 4], [1, 3, 5]]),
        (6, 2, [32, 64, 128], [[0, 3], [1, 4], [2, 5]]),
        # The last ones are too few to fill packs, the larger group goes first.
        (5, 4, [32, 64, 64], [[1, 2, 4], [0, 3]]),
    ],
)
def test_packs_by_hand(trials: int, lanes: int, batch_sizes: list[int], packs: list[list[int]]) -> None:
    study = CountingStudy(batch_sizes)
    queue = TrialQueue(study, trials=trials, lanes=lanes)
    assert not queue.exhausted
    handed_out = drain(queue)
    assert numbers(handed_out) == packs
    assert [pack.number for pack in handed_out] == list(range(len(packs)))
    assert queue.exhausted
    assert queue.waiting == 0
    assert {lane.attempt for pack in handed_out for lane in pack.lanes} == {1}


@given(
    trials=st.integers(1, 60),
    lanes=st.integers(1, 9),
    batch_sizes=st.lists(st.sampled_from([16, 32, 64, 128]), min_size=1, max_size=12),
)
def test_every_trial_is_handed_out_once_in_packs_of_one_structure(
    trials: int, lanes: int, batch_sizes: list[int]
) -> None:
    study = CountingStudy(batch_sizes)
    queue = TrialQueue(study, trials=trials, lanes=lanes)
    packs: list[PackOrder] = []
    while pack := queue.next_pack():
        packs.append(pack)
        assert queue.waiting <= LOOK_AHEAD * lanes
    assert all(1 <= len(pack.lanes) <= lanes for pack in packs)
    assert all(len({lane.config.structure() for lane in pack.lanes}) == 1 for pack in packs)
    assert sorted(trial for pack in numbers(packs) for trial in pack) == list(range(trials))
    assert study.asked == trials


def test_trials_are_not_asked_before_they_are_needed() -> None:
    study = CountingStudy()
    queue = TrialQueue(study, trials=100, lanes=4)
    assert study.asked == 0
    queue.next_pack()
    assert study.asked == 4


def test_what_earlier_sessions_left_open_comes_first_with_its_next_attempt() -> None:
    left = [AskedTrial(0, config(0), attempts=2), AskedTrial(1, config(1), attempts=0)]
    study = CountingStudy(left_open=left)
    queue = TrialQueue(study, trials=3, lanes=2, first_pack=7)
    assert queue.waiting == 2
    packs = drain(queue)
    assert numbers(packs) == [[0, 1], [2]]
    assert [pack.number for pack in packs] == [7, 8]
    assert [(lane.trial, lane.attempt) for pack in packs for lane in pack.lanes] == [(0, 3), (1, 1), (2, 1)]


def test_open_trials_are_handed_out_when_the_budget_is_already_asked() -> None:
    study = CountingStudy(left_open=[AskedTrial(number, config(number), 1) for number in range(5)])
    queue = TrialQueue(study, trials=5, lanes=4)
    assert not queue.exhausted
    assert numbers(drain(queue)) == [[0, 1, 2, 3], [4]]
    assert study.asked == 5


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


def test_a_lane_keeps_its_configuration_when_it_starts_again() -> None:
    queue = TrialQueue(CountingStudy(), trials=2, lanes=2)
    pack = queue.next_pack()
    assert pack is not None
    queue.lost(pack.lanes)
    again = [lane for order in drain(queue) for lane in order.lanes]
    assert again == [Lane(lane.trial, 2, lane.config) for lane in pack.lanes]


def paused(trial: int, epoch: int, batch_size: int = 64) -> Lane:
    return Lane(trial, 1, config(trial, batch_size), epoch=epoch, seconds=2.0)


def test_packs_that_go_on_from_a_rung_double_until_they_are_full() -> None:
    queue = TrialQueue(CountingStudy(), trials=1000, lanes=5)
    (fresh,) = take(queue, 1)
    assert (fresh.epoch, len(fresh.lanes)) == (0, 5)
    sizes, trials = list[int](), list[int]()
    for trial in range(20):
        queue.pause(paused(trial, 5))
        (pack,) = take(queue, 1)
        if pack.epoch:
            assert pack.slots == 5
            sizes.append(len(pack.lanes))
            trials += [lane.trial for lane in pack.lanes]
    assert sizes == [1, 2, 4, 5, 5]
    assert trials == list(range(17))
    assert queue.waiting == 3


def test_each_rung_and_structure_doubles_on_its_own() -> None:
    queue = TrialQueue(CountingStudy(), trials=1000, lanes=4)
    for lane in (paused(1, 3), paused(2, 9), paused(3, 3, 32)):
        queue.pause(lane)
        (pack,) = take(queue, 1)
        assert pack.lanes == (lane,)
    for lane in (paused(4, 3), paused(5, 9), paused(6, 3, 32)):
        queue.pause(lane)
        (pack,) = take(queue, 1)
        assert pack.epoch == 0
    assert queue.waiting == 3


def test_of_ready_packs_the_farthest_goes_first_and_at_the_end_the_fullest() -> None:
    queue = TrialQueue(CountingStudy(), trials=2, lanes=2)
    for epoch, batch_size in ((3, 64), (9, 64), (27, 64), (9, 32)):  # so that each needs two lanes from now on
        queue.pause(paused(100, epoch, batch_size))
        take(queue, 1)
    for lane in (paused(10, 3), paused(11, 9), paused(12, 3), paused(13, 9), paused(14, 27), paused(15, 9, 32)):
        queue.pause(lane)
    assert [(pack.epoch, [lane.trial for lane in pack.lanes]) for pack in drain(queue)] == [
        (9, [11, 13]),
        (3, [10, 12]),
        (0, [0, 1]),
        (27, [14]),
        (9, [15]),
    ]
    assert queue.exhausted


def test_a_paused_lane_that_is_lost_starts_again() -> None:
    queue = TrialQueue(CountingStudy(), trials=0, lanes=2)
    queue.pause(paused(7, 9))
    assert queue.paused() == [paused(7, 9)]
    (pack,) = drain(queue)
    queue.lost(pack.lanes)
    (again,) = drain(queue)
    assert again.lanes == (Lane(7, 2, config(7)),)
    assert queue.paused() == []


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


def test_it_says_whether_a_pack_needs_no_further_trial() -> None:
    queue = TrialQueue(CountingStudy(), trials=40, lanes=4)
    assert not queue.ready
    for trial in (20, 21, 22):
        queue.pause(paused(trial, 9, batch_size=32 + trial))  # each alone in its structure: a pack that goes on
    assert queue.ready
    drain_paused = take(queue, 3)
    assert [len(pack.lanes) for pack in drain_paused] == [1, 1, 1]
    for trial in (30, 31, 32, 33):
        queue.pause(paused(trial, 9, batch_size=64 + trial % 2))
    take(queue, 2)
    queue.pause(paused(34, 9, batch_size=64))
    assert queue.waiting
    assert not queue.ready  # of one structure two are needed by now, and there are fewer


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


BEGAN = datetime(2026, 5, 4, 12, tzinfo=UTC)


def reached(trial: int, epoch: int, attempt: int = 1) -> Reached:
    return Reached(trial=trial, attempt=attempt, epoch=epoch, seconds=epoch / 2, started=BEGAN, config="c")


def test_trials_of_earlier_sessions_go_on_from_their_states_in_packs_of_equal_epochs() -> None:
    left = [AskedTrial(number, config(number), attempts=2) for number in range(6)]
    states = {trial: reached(trial, epoch, 2) for trial, epoch in ((0, 4), (2, 9), (3, 4))}
    states[5] = reached(5, 4, attempt=1)  # of an attempt that was given up
    queue = TrialQueue(CountingStudy(left_open=left), trials=6, lanes=8, reached=states)
    found = {pack.epoch: [(lane.trial, lane.attempt) for lane in pack.lanes] for pack in drain(queue)}
    assert found == {4: [(0, 2), (3, 2)], 9: [(2, 2)], 0: [(1, 3), (4, 3), (5, 3)]}


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
