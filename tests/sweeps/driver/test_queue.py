"""Which trials the queue hands out, and in what packs, against a study that only counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.driver.queue import LOOK_AHEAD, PackOrder, TrialQueue, open_lanes
from sweeps.search.study import AskedTrial
from tests.sweeps.counting_study import CountingStudy, config, drain, numbers, paused, reached, take


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
    queue = TrialQueue(study, open_lanes(left), trials=3, lanes=2, first_pack=7)
    assert queue.waiting == 2
    packs = drain(queue)
    assert numbers(packs) == [[0, 1], [2]]
    assert [pack.number for pack in packs] == [7, 8]
    assert [(lane.trial, lane.attempt) for pack in packs for lane in pack.lanes] == [(0, 3), (1, 1), (2, 1)]


def test_open_trials_are_handed_out_when_the_budget_is_already_asked() -> None:
    left = [AskedTrial(number, config(number), 1) for number in range(5)]
    study = CountingStudy(left_open=left)
    queue = TrialQueue(study, open_lanes(left), trials=5, lanes=4)
    assert not queue.exhausted
    assert numbers(drain(queue)) == [[0, 1, 2, 3], [4]]
    assert study.asked == 5


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


def test_trials_of_earlier_sessions_go_on_from_their_states_in_packs_of_equal_epochs() -> None:
    left = [AskedTrial(number, config(number), attempts=2) for number in range(6)]
    states = {trial: reached(trial, epoch, 2) for trial, epoch in ((0, 4), (2, 9), (3, 4))}
    states[5] = reached(5, 4, attempt=1)  # of an attempt that was given up
    queue = TrialQueue(CountingStudy(left_open=left), open_lanes(left, states), trials=6, lanes=8)
    found = {pack.epoch: [(lane.trial, lane.attempt) for lane in pack.lanes] for pack in drain(queue)}
    assert found == {4: [(0, 2), (3, 2)], 9: [(2, 2)], 0: [(1, 3), (4, 3), (5, 3)]}
