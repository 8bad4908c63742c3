import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.space import Constraint
from sweeps import pareto
from sweeps.errors import SweepError
from sweeps.objectives import Objectives
from sweeps.pareto import (
    best_at,
    best_of_trials,
    feasible,
    front,
    has_knee,
    hypervolume,
    hypervolume_history,
    judged,
    knee,
    own_fronts,
    resampled_hypervolumes,
    values,
    why_empty,
)

DEFAULT = {"val_accuracy": "maximize", "remaining": "minimize"}
THREE = {"val_accuracy": "maximize", "remaining": "minimize", "inverted": "minimize"}


def table(rows: Sequence[tuple[Any, ...]], *, metrics: Sequence[str] = tuple(DEFAULT)) -> pa.Table:
    """Rows of (state, metrics...); trials are numbered and end in the order of the rows."""
    columns: dict[str, pa.Array] = {
        "trial": pa.array(range(len(rows)), pa.int64()),
        "state": pa.array([row[0] for row in rows], pa.string()),
        "ended": pa.array(range(len(rows)), pa.timestamp("us", tz="UTC")),
    }
    for index, metric in enumerate(metrics, start=1):
        columns[metric] = pa.array([row[index] for row in rows], pa.float64())
    return pa.table(columns)


def numbers(rows: pa.Table) -> list[int]:
    return rows["trial"].to_pylist()


TABLE = table(
    [
        ("finished", 0.90, 0.10),  # 0 front
        ("finished", 0.95, 0.20),  # 1 front
        ("finished", 0.95, 0.20),  # 2 the same point again
        ("finished", 0.95, 0.30),  # 3 as good, but denser
        ("finished", 0.80, 0.10),  # 4 as sparse, but worse
        ("stopped", 0.99, 0.01),  # 5 better than all, but not finished
        ("failed", None, None),  # 6
        ("finished", math.nan, 0.01),  # 7
        ("finished", 0.50, None),  # 8
        ("finished", math.inf, 0.01),  # 9
        ("finished", 0.20, 0.05),  # 10 front
    ]
)


def test_the_front_by_hand() -> None:
    assert numbers(front(TABLE, DEFAULT)) == [1, 0, 10]
    assert numbers(front(TABLE, {"remaining": "minimize", "val_accuracy": "maximize"})) == [10, 0, 1]
    assert numbers(front(TABLE, {"val_accuracy": "maximize"})) == [1]
    assert numbers(front(TABLE, {"remaining": "minimize"})) == [7]
    assert front(TABLE, DEFAULT).column_names == TABLE.column_names


def test_of_equal_trials_the_lowest_number_stands_in_any_order_of_rows() -> None:
    backwards = TABLE.take(list(range(len(TABLE)))[::-1])
    assert numbers(front(backwards, DEFAULT)) == [1, 0, 10]


def test_nothing_finished_is_an_empty_front_of_no_volume() -> None:
    for rows in (TABLE.slice(5, 2), TABLE.slice(0, 0)):
        assert front(rows, DEFAULT).equals(rows.slice(0, 0))
        assert hypervolume(rows, DEFAULT) == 0
        assert hypervolume_history(rows, DEFAULT).num_rows == 0
        assert hypervolume_history(rows, {"remaining": "minimize"}).num_rows == 0
        assert best_at(rows, [0.1]) == [(0.1, None)]


def test_the_hypervolume_by_hand() -> None:
    # Boxes from each front point to accuracy 0.1 and remaining 1, in decades; the overlaps counted once.
    tenth, fifth, twentieth = (-math.log10(left) / 3 for left in (0.1, 0.2, 0.05))
    first = 0.8 / 0.9 * tenth
    second = 0.85 / 0.9 * fifth + 0.8 / 0.9 * (tenth - fifth)
    area = second + 0.1 / 0.9 * (twentieth - tenth)
    assert hypervolume(TABLE, DEFAULT) == pytest.approx(area)
    history = hypervolume_history(TABLE, DEFAULT)
    assert history["networks"].to_pylist() == list(range(1, 10))
    assert history["trial"].to_pylist() == [0, 1, 2, 3, 4, 7, 8, 9, 10]
    steps = [first, *[second] * 7, area]
    assert history["hypervolume"].to_pylist() == pytest.approx(steps)


def test_the_history_goes_by_the_time_of_the_end() -> None:
    rows = TABLE.slice(0, 2).set_column(2, "ended", TABLE["ended"].take([1, 0]))
    history = hypervolume_history(rows, DEFAULT)
    assert history["trial"].to_pylist() == [1, 0]
    alone = hypervolume(rows.slice(1, 1), DEFAULT)
    assert history["hypervolume"].to_pylist() == pytest.approx([alone, hypervolume(rows, DEFAULT)])
    assert history["ended"].to_pylist() == rows["ended"].to_pylist()[::-1]


def test_a_perfect_network_of_a_thousandth_of_its_weights_has_all_of_the_hypervolume() -> None:
    assert hypervolume(table([("finished", 1.0, 0.001)]), DEFAULT) == 1
    assert hypervolume(table([("finished", 1.0, 0.0)]), DEFAULT) == 1
    assert hypervolume(table([("finished", 0.1, 0.001), ("finished", 1.0, 1.0)]), DEFAULT) == 0
    linear = Objectives(DEFAULT, scales={"remaining": "linear"})
    assert hypervolume(table([("finished", 1.0, 0.25)]), linear) == pytest.approx(0.75)


def test_the_reference_is_the_worst_value_of_each_metric() -> None:
    metrics = ("val_loss", "inverted")
    rows = table([("finished", 1.0, 0.25), ("finished", 5.0, 0.0)], metrics=metrics)
    minimal = {"val_loss": "minimize", "inverted": "minimize"}
    loss = 1 - 1 / math.log(100)  # the second is worse than log(100)
    assert hypervolume(rows, minimal) == pytest.approx(loss * 0.75)
    assert hypervolume(rows, {"val_loss": "minimize", "inverted": "maximize"}) == pytest.approx(loss * 0.25)
    assert hypervolume(rows, {"val_loss": "minimize"}) == pytest.approx(loss)


def networks(rows: Sequence[tuple[int, int, float, float, float]]) -> pa.Table:
    """Rows of (trial, epoch, accuracy, estimate, remaining)."""
    names = ("trial", "epoch", "val_accuracy", "estimate", "remaining")
    kinds = (pa.int64(), pa.int64(), pa.float64(), pa.float64(), pa.float64())
    columns = zip(*rows, strict=True) if rows else ((),) * len(names)
    return pa.table({name: pa.array(column, kind) for name, column, kind in zip(names, columns, kinds, strict=True)})


NETWORKS = networks(
    [
        (0, 1, 0.9, 0.70, 0.5),
        (0, 2, 0.8, 0.80, 0.1),  # front
        (1, 1, 0.7, 0.80, 0.1),  # the same point, of a later trial
        (1, 2, 0.95, 0.75, 0.2),
        (1, 3, 0.6, 0.60, 0.01),  # front
        (1, 4, 0.6, 0.60, 0.01),  # the same point, of a later epoch
    ]
)


def test_every_network_counts_and_is_judged_by_its_estimate() -> None:
    found = front(NETWORKS, DEFAULT)
    assert list(zip(numbers(found), found["epoch"].to_pylist(), strict=True)) == [(0, 2), (1, 3)]
    assert best_at(NETWORKS, [0.05, 0.5]) == [(0.05, 0.6), (0.5, 0.8)]
    assert numbers(feasible(NETWORKS, [Constraint("val_accuracy", ">=", 0.76)])) == [0, 1]
    backwards = NETWORKS.take(list(range(len(NETWORKS)))[::-1])
    assert front(backwards, DEFAULT).equals(found)


def test_what_an_older_version_did_not_judge_stands_for_itself() -> None:
    older = NETWORKS.set_column(3, "estimate", pa.array([None, 0.2, *[None] * 4], pa.float64()))
    assert judged(older, "val_accuracy").tolist() == [0.9, 0.2, 0.7, 0.95, 0.6, 0.6]


def test_the_best_network_of_a_trial_has_the_largest_box_and_keeps_the_constraints() -> None:
    best = best_of_trials(NETWORKS, DEFAULT)
    assert list(zip(numbers(best), best["epoch"].to_pylist(), strict=True)) == [(0, 2), (1, 3)]
    strict = Objectives(DEFAULT, [Constraint("val_accuracy", ">=", 0.7)])
    best = best_of_trials(NETWORKS, strict)
    assert list(zip(numbers(best), best["epoch"].to_pylist(), strict=True)) == [(0, 2), (1, 1)]


POINT = st.tuples(
    st.integers(0, 3), st.integers(1, 4), st.sampled_from([0.25, 0.5, 0.75]), st.sampled_from([0.1, 0.2, 0.4])
)


@given(st.lists(POINT, max_size=25, unique_by=lambda point: point[:2]), st.booleans())
def test_own_fronts_hold_the_front_of_each_trial(points: list[tuple[int, int, float, float]], single: bool) -> None:
    objectives = {"val_accuracy": "maximize"} if single else DEFAULT
    table = networks([(trial, epoch, high, high, left) for trial, epoch, high, left in sorted(points)])
    found = own_fronts(table, objectives).to_pylist()
    expected = [
        member
        for trial in sorted({point[0] for point in points})
        for member in front(table.filter(pc.field("trial") == trial), objectives).to_pylist()
    ]
    assert found == sorted(expected, key=lambda row: (row["trial"], row["epoch"]))


def test_a_resample_draws_trials_with_all_of_their_networks() -> None:
    whole = hypervolume(NETWORKS, DEFAULT)
    alone = [hypervolume(NETWORKS.slice(*part), DEFAULT) for part in ((0, 2), (2, 4))]
    found = resampled_hypervolumes(NETWORKS, DEFAULT, 200, generator=np.random.default_rng(0))
    assert set(np.round(found, 9)) == set(np.round([whole, *alone], 9))


@pytest.mark.parametrize(
    ("constraints", "expected"),
    [
        ([], list(range(11))),
        ([Constraint("val_accuracy", ">=", 0.95)], [1, 2, 3, 5, 9]),
        ([Constraint("remaining", "<=", 0.10)], [0, 4, 5, 7, 9, 10]),
        ([Constraint("val_accuracy", ">=", 0.9), Constraint("remaining", "<=", 0.1)], [0, 5, 9]),
        ([Constraint("val_accuracy", ">=", 2.0)], [9]),
    ],
)
def test_feasible_rows_keep_to_every_constraint(constraints: list[Constraint], expected: list[int]) -> None:
    assert numbers(feasible(TABLE, constraints)) == expected


def test_an_empty_front_is_explained_by_what_its_trials_had_to_keep_to() -> None:
    assert why_empty([]) == "no epoch has ended"
    bounds = [Constraint("val_accuracy", ">=", 0.95), Constraint("remaining", "<=", 0.2)]
    assert why_empty(bounds) == "no network keeps to: val_accuracy >= 0.95, remaining <= 0.2"


def test_best_at_looks_at_finished_trials_up_to_the_level() -> None:
    assert best_at(TABLE, [0.01, 0.05, 0.1, 0.2, 1.0]) == [
        (0.01, None),
        (0.05, 0.2),
        (0.1, 0.9),
        (0.2, 0.95),
        (1.0, 0.95),
    ]


@pytest.mark.parametrize(
    ("objectives", "message"),
    [
        (
            {"val_acuracy": "maximize"},
            "metric val_acuracy: must be a column of the results, but there is none. Did you mean 'val_accuracy'?",
        ),
        (
            {"remaining": "min"},
            "objective remaining: direction must be maximize or minimize, but got 'min'. Give one of the two.",
        ),
        ({}, "objectives: must name at least one metric, but got none. Give one, like val_accuracy."),
    ],
)
def test_wrong_objectives_are_named(objectives: dict[str, str], message: str) -> None:
    with pytest.raises(SweepError) as caught:
        front(TABLE, objectives)
    assert caught.value.message == message


def test_a_hypervolume_needs_a_reference() -> None:
    assert numbers(front(TABLE, {"trial": "minimize"})) == [0]
    for measure in (hypervolume, hypervolume_history):
        with pytest.raises(SweepError, match="objective trial: must have a reference for the hypervolume, but only"):
            measure(TABLE, {"trial": "minimize"})


def test_values_are_floats_with_nan_for_null() -> None:
    np.testing.assert_array_equal(values(TABLE.slice(6, 1), "remaining"), [math.nan])
    assert values(TABLE, "trial").dtype == np.float64


# A coarse grid makes ties and duplicates common; what lies above 1 is worse than the reference.
GRID = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, 1.5])
METRIC = st.one_of(GRID, GRID, st.floats(0.0009765625, 1, width=16), st.none(), st.just(math.nan))
STATE = st.sampled_from(["finished", "finished", "finished", "stopped", "failed"])


def better(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether `one` is as good in all and better in one; the first is maximised, the others minimised."""
    ones, others = [-one[0], *one[1:]], [-other[0], *other[1:]]
    return all(a <= b for a, b in zip(ones, others, strict=True)) and ones != others


def slow_front(rows: list[tuple[Any, ...]]) -> set[int]:
    points = {
        number: row[1:]
        for number, row in enumerate(rows)
        if row[0] == "finished" and all(value is not None and math.isfinite(value) for value in row[1:])
    }
    return {
        number
        for number, point in points.items()
        if not any(better(other, point) for other in points.values())
        and not any(earlier < number and other == point for earlier, other in points.items())
    }


def slow_gain(place: int, value: float) -> float:
    """Of remaining weights in three decades, of inverted ones as they are."""
    return 1 - value if place else 1.0 if value <= 0.001 else -math.log10(value) / 3


def slow_volume(rows: list[tuple[Any, ...]]) -> float:
    """Counts the cells of the grid spanned by all coordinates that some point's box covers."""
    points = [
        (min((row[1] - 0.1) / 0.9, 1.0), *(slow_gain(place, value) for place, value in enumerate(row[2:])))
        for row in rows
        if row[0] == "finished" and all(value is not None and math.isfinite(value) for value in row[1:])
    ]
    points = [point for point in points if min(point) > 0]
    if not points:
        return 0.0
    edges = [sorted({0.0, *column}) for column in zip(*points, strict=True)]
    corners = np.stack(np.meshgrid(*[edge[1:] for edge in edges], indexing="ij"), axis=-1)
    sizes = np.stack(np.meshgrid(*[np.diff(edge) for edge in edges], indexing="ij"), axis=-1).prod(axis=-1)
    covered = np.zeros(sizes.shape, dtype=bool)
    for point in points:
        covered |= (corners <= np.array(point)).all(axis=-1)
    return float(sizes[covered].sum())


@given(rows=st.lists(st.tuples(STATE, METRIC, METRIC), max_size=25))
def test_two_objectives_match_the_slow_versions(rows: list[tuple[Any, ...]]) -> None:
    trials = table(rows)
    found = front(trials, DEFAULT)
    assert set(numbers(found)) == slow_front(rows)
    assert len(found) == len(slow_front(rows))
    accuracies = found["val_accuracy"].to_pylist()
    assert accuracies == sorted(accuracies, reverse=True)
    assert hypervolume(trials, DEFAULT) == pytest.approx(slow_volume(rows))
    ends = [number for number, row in enumerate(rows) if row[0] == "finished"]
    history = hypervolume_history(trials, DEFAULT)
    assert numbers(history) == ends
    assert history["hypervolume"].to_pylist() == pytest.approx([slow_volume(rows[: end + 1]) for end in ends])


@pytest.mark.parametrize("block", [1, 7, 64])
def test_a_history_does_not_depend_on_how_many_networks_are_compared_at_once(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(0)
    points = np.round(np.column_stack([generator.uniform(0, 1, 300), 10 ** -generator.uniform(0, 3, 300)]), 2)
    trials = table([("finished", *point) for point in points.tolist()])
    whole = hypervolume_history(trials, DEFAULT)
    monkeypatch.setattr(pareto, "_BLOCK", block)
    assert hypervolume_history(trials, DEFAULT).equals(whole)


@given(rows=st.lists(st.tuples(STATE, METRIC, METRIC, METRIC), max_size=12))
def test_three_objectives_match_the_slow_versions(rows: list[tuple[Any, ...]]) -> None:
    trials = table(rows, metrics=tuple(THREE))
    assert set(numbers(front(trials, THREE))) == slow_front(rows)
    assert hypervolume(trials, THREE) == pytest.approx(slow_volume(rows))
    ends = [number for number, row in enumerate(rows) if row[0] == "finished"]
    history = hypervolume_history(trials, THREE)
    assert numbers(history) == ends
    assert history["hypervolume"].to_pylist() == pytest.approx([slow_volume(rows[: end + 1]) for end in ends])


@given(rows=st.lists(st.tuples(STATE, METRIC), max_size=12))
def test_one_objective_has_a_front_of_one_and_a_running_best(rows: list[tuple[Any, ...]]) -> None:
    objective = {"val_accuracy": "maximize"}
    trials = table(rows, metrics=("val_accuracy",))
    assert set(numbers(front(trials, objective))) == slow_front(rows)
    ends = [number for number, row in enumerate(rows) if row[0] == "finished"]
    expected = [slow_volume(rows[: end + 1]) for end in ends]
    assert hypervolume_history(trials, objective)["hypervolume"].to_pylist() == pytest.approx(expected)


def test_many_trials_of_three_objectives_are_measured_at_checkpoints() -> None:
    points = np.random.default_rng(0).uniform(size=(1000, 3)).tolist()
    trials = table([("finished", *point) for point in points], metrics=tuple(THREE))
    history = hypervolume_history(trials, THREE)
    assert history.num_rows == 100
    assert history["networks"].to_pylist()[0] == 1
    assert history["networks"].to_pylist()[-1] == 1000
    assert history["hypervolume"].to_pylist()[-1] == pytest.approx(hypervolume(trials, THREE))


def knee_of(
    points: Sequence[tuple[float, float]], objectives: dict[str, str] | None = None, *, what: Callable[..., Any] = knee
) -> Any:
    """The knee among trials with these (accuracy, remaining), or whether there is one."""
    columns = {"val_accuracy": [point[0] for point in points], "remaining": [point[1] for point in points]}
    table = pa.table({"trial": range(len(points)), "state": ["finished"] * len(points), **columns})
    ways = objectives or {"val_accuracy": "maximize", "remaining": "minimize"}
    return what(front(table, ways), ways)


@pytest.mark.parametrize(
    ("points", "chosen"),
    [
        ([], []),
        ([(0.9, 0.1)], [0]),
        ([(0.9, 0.1), (0.8, 0.01)], [0]),
        # On the log axis the middle lies half way; it lies 0.4 above the chord in accuracy.
        ([(1.0, 0.1), (0.98, 0.01), (0.8, 0.001)], [1]),
        # Costs 0.67 + 0.1 and 0.33 + 0.4; linear in remaining it would be 0.1 + 0.1 and 0.01 + 0.4.
        ([(1.0, 1.0), (0.95, 0.1), (0.80, 0.01), (0.5, 0.001)], [2]),
        # Nothing bulges: the end that is best in the first objective.
        ([(1.0, 0.1), (0.82, 0.01), (0.8, 0.001)], [0]),
        # No weights at all have no logarithm.
        ([(1.0, 0.1), (0.98, 0.01), (0.8, 0.001), (0.1, 0.0)], [1]),
        ([(0.1, 0.0)], [0]),
    ],
)
def test_the_knee_is_farthest_from_the_chord(points: list[tuple[float, float]], chosen: list[int]) -> None:
    assert knee_of(points).column("trial").to_pylist() == chosen
    assert knee_of(points, what=has_knee) == (chosen not in ([], [0]))


def test_a_knee_needs_two_objectives() -> None:
    with pytest.raises(SweepError, match=r"^knee: the sweep must have two objectives, but has 1\. Choose by"):
        knee_of([(0.9, 0.1)], {"val_accuracy": "maximize"})
