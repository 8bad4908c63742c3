import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sweeps import pareto, results
from sweeps.analysis.comparison import Range, compare, notes
from sweeps.errors import SweepError
from sweeps.pareto import resampled_hypervolumes

EndedRow = Callable[..., dict[str, Any]]
OBJECTIVES = {"val_accuracy": "maximize", "remaining": "minimize"}


@pytest.fixture
def table(ended_row: EndedRow) -> Callable[..., Any]:
    """Trials at points of (accuracy, remaining)."""

    def build(*points: tuple[float, float], **changes: Any) -> Any:
        return results.trials_table(
            [
                ended_row(trial, val_accuracy=accuracy, remaining=remaining, **changes)
                for trial, (accuracy, remaining) in enumerate(points)
            ]
        )

    return build


def test_a_comparison_that_a_person_can_check(table: Any) -> None:
    one, other = table((0.8, 0.1), (0.9, 0.4)), table((0.5, 0.05), (0.85, 0.2))
    found = compare(one, other, OBJECTIVES)
    # 0.3 * 0.8 + 0.6 * 0.9 and 0.15 * 0.5 + 0.8 * 0.85
    assert found.volumes == pytest.approx((0.78, 0.755))
    assert found.difference == pytest.approx(0.025)
    assert [(part.low, part.high, part.better) for part in found.where] == [
        (0.05, 0.1, "other"),  # one has nothing with so few weights
        (0.1, 0.2, "one"),
        (0.2, 0.4, "other"),
        (0.4, 1.0, "one"),
    ]
    assert found.where[0].gain is None
    assert [part.gain for part in found.where[1:]] == pytest.approx([0.3, 0.05, 0.05])


def test_the_gain_of_a_range_is_a_mean_over_the_logarithm(table: Any) -> None:
    found = compare(table((0.5, 0.01), (0.9, 0.1)), table((0.4, 0.01)), OBJECTIVES)
    (part,) = found.where
    assert (part.low, part.high, part.better) == (0.01, 1.0, "one")
    assert (part.gain, part.most) == pytest.approx((0.3, 0.5))


def test_equal_sweeps_differ_nowhere(table: Any) -> None:
    one = table((0.8, 0.1), (0.9, 0.4))
    found = compare(one, one, OBJECTIVES)
    assert found.difference == 0
    assert found.low < 0 < found.high  # their resamples are drawn one by one
    assert found.where == (Range(0.1, 1.0, "neither", 0.0, 0.0),)


def test_networks_that_keep_all_weights_are_seen_at_the_last_level(table: Any) -> None:
    pruned, dense = table((0.8, 0.1), (0.9, 0.4)), table((0.95, 1.0))
    found = compare(pruned, dense, OBJECTIVES)
    assert found.volumes == (pytest.approx(0.78), 0.0)
    assert [(part.low, part.high, part.better, part.gain) for part in found.where] == [
        (0.1, 1.0, "one", None),
        (1.0, 1.0, "other", pytest.approx(0.05)),
    ]
    assert notes(found, ("pruned", "dense"), (pruned, dense), OBJECTIVES) == [
        "the hypervolume says nothing of dense: all its finished trials have val_accuracy 0 or remaining 1, or worse"
    ]
    assert compare(dense, dense, OBJECTIVES).where == (Range(1.0, 1.0, "neither", 0.0, 0.0),)


def test_an_interval_of_sweeps_of_different_length_leans_against_the_shorter(table: Any) -> None:
    generator = np.random.default_rng(0)
    points = np.column_stack([generator.uniform(0.5, 1, 400), generator.uniform(0.01, 1, 400)]).tolist()
    long, short = table(*map(tuple, points)), table(*map(tuple, points[:20]))
    found = compare(long, short, OBJECTIVES)
    assert (found.low + found.high) / 2 > found.difference
    for names, sides in ((("long", "short"), (long, short)), (("short", "long"), (short, long))):
        assert notes(compare(*sides, OBJECTIVES), names, sides, OBJECTIVES) == [
            "the interval leans against short, which finished fewer trials (20 against 400): a resample only loses, "
            "the more the fewer there are"
        ]
    assert notes(found, ("long", "long"), (long, long), OBJECTIVES) == []
    assert notes(compare(long, table(), OBJECTIVES), ("long", "empty"), (long, table()), OBJECTIVES) == []


def test_turned_round_it_says_the_opposite(table: Any) -> None:
    one, other = table((0.8, 0.1), (0.9, 0.4), (0.3, 0.01)), table((0.5, 0.05), (0.85, 0.2))
    forth, back = compare(one, other, OBJECTIVES), compare(other, one, OBJECTIVES)
    assert back.volumes == forth.volumes[::-1]
    assert back.difference == -forth.difference
    turned = {"one": "other", "other": "one", "neither": "neither"}
    assert [turned[part.better] for part in back.where] == [part.better for part in forth.where]
    assert [part.gain for part in back.where] == [part.gain for part in forth.where]


def test_a_loss_is_better_when_it_is_less(table: Any, ended_row: EndedRow) -> None:
    one, other = (results.trials_table([ended_row(0, val_loss=loss, remaining=0.1)]) for loss in (0.2, 0.3))
    (part,) = compare(one, other, {"val_loss": "minimize", "remaining": "minimize"}).where
    assert (part.better, part.gain) == ("one", pytest.approx(0.1))


def test_only_two_objectives_with_remaining_have_ranges(table: Any) -> None:
    one = table((0.8, 0.1))
    assert compare(one, one, {"val_accuracy": "maximize"}).where == ()
    assert compare(one, one, {"val_accuracy": "maximize", "val_loss": "minimize"}).where == ()


def test_a_sweep_without_a_finished_trial_loses(table: Any) -> None:
    found = compare(table((0.8, 0.1), state="failed"), table((0.5, 0.2)), OBJECTIVES)
    assert found.volumes == (0.0, pytest.approx(0.4))
    assert found.difference == found.low == found.high == pytest.approx(-0.4)
    assert [(part.low, part.high, part.better, part.gain) for part in found.where] == [(0.2, 1.0, "other", None)]
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


def test_stopped_trials_are_drawn_too(table: Any, ended_row: EndedRow) -> None:
    rows = [ended_row(0, val_accuracy=0.5, remaining=0.5), *(ended_row(trial, "stopped") for trial in range(1, 100))]
    volumes = resampled_hypervolumes(results.trials_table(rows), OBJECTIVES, 2000, generator=np.random.default_rng(0))
    assert set(np.round(volumes, 12)) == {0.0, 0.25}
    assert (volumes > 0).mean() == pytest.approx(1 - math.exp(-1), abs=0.05)  # one in a hundred, drawn a hundred times


def test_no_resamples_are_refused(table: Any) -> None:
    with pytest.raises(SweepError) as raised:
        compare(table(), table(), OBJECTIVES, resamples=0)
    assert raised.value.message == "resamples: must be 1 or more, but got 0. Leave it out to have 1000."
