import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from search_spaces.space import SearchSpace
from sweeps import pareto, results
from sweeps.analysis.comparison import Comparison, Range, check_objectives, compare, notes
from sweeps.errors import SweepError
from sweeps.objectives import Objectives
from sweeps.pareto import own_fronts, resampled_hypervolumes
from tests.sweeps.conftest import last_networks

EndedRow = Callable[..., dict[str, Any]]
OBJECTIVES = {"val_accuracy": "maximize", "remaining": "minimize"}


@pytest.fixture
def table(ended_row: EndedRow) -> Callable[..., Any]:
    """Networks of a trial each at points of (accuracy, remaining)."""

    def build(*points: tuple[float, float]) -> Any:
        return last_networks(
            ended_row(trial, val_accuracy=accuracy, remaining=remaining)
            for trial, (accuracy, remaining) in enumerate(points)
        )

    return build


@pytest.fixture
def said(ended_row: EndedRow) -> Callable[..., list[str]]:
    """The notes of a comparison of sweeps that were run alike."""
    trials = results.trials_table([ended_row(0)])

    def say(found: Comparison, names: tuple[str, str], sides: tuple[Any, Any]) -> list[str]:
        return notes(found, names, sides, (trials, trials), OBJECTIVES)

    return say


def test_a_comparison_that_a_person_can_check(table: Any) -> None:
    one, other = table((0.55, 0.01), (0.91, 0.1)), table((0.19, 0.001), (0.73, 0.01))
    found = compare(one, other, OBJECTIVES)
    # From guessing, 0.1, to 1, and in thirds of decades: 0.5 * 2/3 + 0.4 * 1/3 and 0.1 * 1 + 0.6 * 2/3
    assert found.volumes == pytest.approx((0.4 + 1 / 15, 0.1 + 0.4))
    assert found.difference == pytest.approx(-1 / 30)
    assert [(part.low, part.high, part.better) for part in found.where] == [
        (0.001, 0.01, "other"),  # one has nothing with so few weights
        (0.01, 0.1, "other"),
        (0.1, 1.0, "one"),
    ]
    assert found.where[0].gain is None
    assert [part.gain for part in found.where[1:]] == pytest.approx([0.18, 0.18])


def test_networks_are_compared_by_their_estimates(ended_row: EndedRow) -> None:
    lucky, steady = (
        last_networks([ended_row(0, val_accuracy=accuracy, estimate=estimate, remaining=0.1)])
        for accuracy, estimate in ((0.95, 0.80), (0.85, 0.90))
    )
    found = compare(lucky, steady, OBJECTIVES)
    assert found.volumes == pytest.approx((7 / 27, 8 / 27))
    assert [(part.better, part.gain) for part in found.where] == [("other", pytest.approx(0.1))]


def test_the_networks_that_can_be_on_a_front_say_what_all_of_them_say(epoch_table: Any) -> None:
    one, other = epoch_table(0), epoch_table(1)
    whole = compare(one, other, OBJECTIVES, resamples=4000)
    part = compare(own_fronts(one, OBJECTIVES), own_fronts(other, OBJECTIVES), OBJECTIVES, resamples=4000)
    assert (part.volumes, part.where) == (pytest.approx(whole.volumes), whole.where)
    assert (part.low, part.high) == pytest.approx((whole.low, whole.high), abs=0.1 * (whole.high - whole.low))


@pytest.fixture
def epoch_table() -> Callable[[int], Any]:
    """Five networks of each of 30 trials, at random."""

    def build(seed: int) -> Any:
        generator = np.random.default_rng(seed)
        return results.epochs_table(
            {"trial": trial, "attempt": 1, "epoch": epoch, "remaining": 10 ** -generator.uniform(0, 3)}
            | dict.fromkeys(("val_accuracy", "estimate"), generator.uniform(0.1, 1))
            for trial in range(30)
            for epoch in range(1, 6)
        )

    return build


def test_the_gain_of_a_range_is_a_mean_over_the_logarithm(table: Any) -> None:
    found = compare(table((0.5, 0.01), (0.9, 0.1)), table((0.4, 0.01)), OBJECTIVES)
    (part,) = found.where
    assert (part.low, part.high, part.better) == (0.01, 1.0, "one")
    assert (part.gain, part.most) == pytest.approx((0.3, 0.5))


def test_equal_sweeps_differ_nowhere(table: Any) -> None:
    one = table((0.8, 0.1), (0.9, 0.4))
    found = compare(one, one, Objectives(OBJECTIVES))
    assert found.difference == 0
    assert found.low < 0 < found.high  # their resamples are drawn one by one
    assert found.where == (Range(0.1, 1.0, "neither", 0.0, 0.0),)


def test_networks_that_keep_all_weights_are_seen_at_the_last_level(table: Any, said: Any) -> None:
    pruned, dense = table((0.73, 0.1), (0.91, 0.4)), table((0.96, 1.0))
    found = compare(pruned, dense, OBJECTIVES)
    assert found.volumes == (pytest.approx(0.7 / 3 + 0.2 * -math.log10(0.4) / 3), 0.0)
    assert [(part.low, part.high, part.better, part.gain) for part in found.where] == [
        (0.1, 1.0, "one", None),
        (1.0, 1.0, "other", pytest.approx(0.05)),
    ]
    assert said(found, ("pruned", "dense"), (pruned, dense)) == [
        "the hypervolume says nothing of dense: all its networks have val_accuracy 0.1 or remaining 1, or worse"
    ]
    assert compare(dense, dense, OBJECTIVES).where == (Range(1.0, 1.0, "neither", 0.0, 0.0),)


def test_an_interval_of_sweeps_of_different_length_leans_against_the_shorter(table: Any, said: Any) -> None:
    generator = np.random.default_rng(0)
    points = np.column_stack([generator.uniform(0.5, 1, 400), generator.uniform(0.01, 1, 400)]).tolist()
    long, short = table(*map(tuple, points)), table(*map(tuple, points[:20]))
    found = compare(long, short, OBJECTIVES)
    assert (found.low + found.high) / 2 > found.difference
    for names, sides in ((("long", "short"), (long, short)), (("short", "long"), (short, long))):
        assert said(compare(*sides, OBJECTIVES), names, sides) == [
            "the interval leans against short, which has networks of fewer trials (20 against 400): a resample only "
            "loses, the more the fewer there are"
        ]
    assert said(found, ("long", "long"), (long, long)) == []
    assert said(compare(long, table(), OBJECTIVES), ("long", "empty"), (long, table())) == []


def test_epochs_of_one_trial_make_no_sweep_longer(epoch_table: Any, said: Any) -> None:
    networks = epoch_table(0)
    shorter = networks.filter(np.asarray(networks["epoch"]) < 3)
    sides = networks, shorter
    assert said(compare(*sides, OBJECTIVES), ("five", "two"), sides) == []


def test_it_is_said_in_what_else_two_sweeps_differ(table: Any, ended_row: EndedRow) -> None:
    one = table((0.8, 0.1))
    trials = [
        results.trials_table([ended_row(0, "running", epochs=epochs, data_seed=0)] * count)
        for epochs, count in ((2, 1), (3, 2))
    ]
    assert notes(compare(one, one, OBJECTIVES), ("a", "b"), (one, one), (trials[0], trials[1]), OBJECTIVES) == [
        "they differ in epochs: a has 2, b has 3"
    ]
    assert notes(compare(one, one, OBJECTIVES), ("a", "b"), (one, one), (trials[0], trials[0]), OBJECTIVES) == []


def test_only_sweeps_with_the_same_objectives_on_the_same_scales_are_compared(
    small_space: Callable[..., SearchSpace],
) -> None:
    usual, linear = small_space(), small_space(scales={"remaining": "linear"})
    check_objectives(("a", "b"), (usual, usual))
    with pytest.raises(SweepError) as raised:
        check_objectives(("a", "b"), (usual, linear))
    assert raised.value.message == (
        "a, b: both must have the same objectives, but they have val_accuracy maximize, remaining minimize and "
        "val_accuracy maximize, remaining minimize (linear). Compare sweeps of one question."
    )
    with pytest.raises(SweepError, match="but they have val_accuracy maximize, remaining minimize and val_loss min"):
        check_objectives(("a", "b"), (usual, small_space(objectives={"val_loss": "minimize"})))


def test_turned_round_it_says_the_opposite(table: Any) -> None:
    one, other = table((0.8, 0.1), (0.9, 0.4), (0.3, 0.01)), table((0.5, 0.05), (0.85, 0.2))
    forth, back = compare(one, other, OBJECTIVES), compare(other, one, OBJECTIVES)
    assert back.volumes == forth.volumes[::-1]
    assert back.difference == -forth.difference
    turned = {"one": "other", "other": "one", "neither": "neither"}
    assert [turned[part.better] for part in back.where] == [part.better for part in forth.where]
    assert [part.gain for part in back.where] == [part.gain for part in forth.where]


def test_a_loss_is_better_when_it_is_less(table: Any, ended_row: EndedRow) -> None:
    one, other = (last_networks([ended_row(0, val_loss=loss, remaining=0.1)]) for loss in (0.2, 0.3))
    (part,) = compare(one, other, {"val_loss": "minimize", "remaining": "minimize"}).where
    assert (part.better, part.gain) == ("one", pytest.approx(0.1))


def test_only_two_objectives_with_remaining_have_ranges(table: Any) -> None:
    one = table((0.8, 0.1))
    assert compare(one, one, {"val_accuracy": "maximize"}).where == ()
    assert compare(one, one, {"val_accuracy": "maximize", "val_loss": "minimize"}).where == ()


def test_a_sweep_without_a_network_loses(table: Any) -> None:
    found = compare(table(), table((0.55, 0.1)), OBJECTIVES)
    assert found.volumes == (0.0, pytest.approx(1 / 6))
    assert found.difference == found.low == found.high == pytest.approx(-1 / 6)
    assert [(part.low, part.high, part.better, part.gain) for part in found.where] == [(0.1, 1.0, "other", None)]
    assert compare(table(), table(), OBJECTIVES).where == ()


def test_the_seed_decides_the_interval(table: Any) -> None:
    one, other = table(*((0.5 + k / 100, k / 50) for k in range(1, 30))), table((0.7, 0.3), (0.6, 0.2))
    first = compare(one, other, OBJECTIVES, seed=1)
    assert compare(one, other, OBJECTIVES, seed=1) == first
    assert compare(one, other, OBJECTIVES, seed=2) != first
    assert first.low <= first.high


def test_resamples_are_those_of_a_slow_bootstrap(table: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    points = np.column_stack([generator.uniform(0.5, 1, 40), generator.uniform(0.01, 1, 40)])
    trials = table(*map(tuple, points.tolist()))
    slow = np.array(
        [
            pareto.hypervolume(table(*map(tuple, points[generator.integers(40, size=40)].tolist())), OBJECTIVES)
            for _ in range(400)
        ]
    )
    fast = resampled_hypervolumes(trials, OBJECTIVES, 400, generator=generator)
    error = math.hypot(slow.std(), fast.std()) / math.sqrt(400)
    assert abs(slow.mean() - fast.mean()) < 4 * error
    assert fast.std() == pytest.approx(slow.std(), rel=0.25)
    assert fast.max() <= pareto.hypervolume(trials, OBJECTIVES) + 1e-12
    # A resample that knew the first front only would be too poor.
    monkeypatch.setattr(pareto, "_DEPTH", 1)
    shallow = resampled_hypervolumes(trials, OBJECTIVES, 400, generator=generator)
    assert slow.mean() - shallow.mean() > 4 * error


def test_trials_that_add_nothing_are_drawn_too(table: Any) -> None:
    networks = table((0.55, 0.1), *[(0.1, 0.5)] * 99)  # one that is better than guessing
    volumes = resampled_hypervolumes(networks, OBJECTIVES, 2000, generator=np.random.default_rng(0))
    assert set(np.round(volumes, 12)) == {0.0, round(1 / 6, 12)}
    assert (volumes > 0).mean() == pytest.approx(1 - math.exp(-1), abs=0.05)  # one in a hundred, drawn a hundred times


def test_no_resamples_are_refused(table: Any) -> None:
    with pytest.raises(SweepError) as raised:
        compare(table(), table(), OBJECTIVES, resamples=0)
    assert raised.value.message == "resamples: must be 1 or more, but got 0. Leave it out to have 1000."
