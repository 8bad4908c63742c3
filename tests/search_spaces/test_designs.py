"""Grids and sequences: every combination once, in an order that the seed alone decides."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces.designs import Grid, Sobol, check_budget, grid_size, value_at, values_of
from search_spaces.errors import SpaceError
from search_spaces.load import load
from search_spaces.space import Parameter, Sampler, SearchSpace

FOLDER = Path(__file__).resolve().parents[2] / "search_spaces"
TREE = {
    "weight_init": Parameter(CategoricalDistribution(["signed_constant", "normal"])),
    "weight_gain": Parameter(FloatDistribution(0.5, 2.0, log=True), {"weight_init": "normal"}, points=3),
    "learning_rate": Parameter(FloatDistribution(0.01, 1.0, log=True), points=3),
    "epochs": Parameter(IntDistribution(10, 20, step=5)),
}


def space_of(parameters: dict[str, Parameter], sampler: str = "grid", *, seed: int = 0, trials: int = 4) -> SearchSpace:
    return SearchSpace(
        name="s",
        fixed={},
        parameters=parameters,
        objectives={"val_accuracy": "maximize"},
        constraints=(),
        trials=trials,
        sampler=Sampler(sampler, seed),
    )


def test_a_grid_is_every_combination_once_and_leaves_out_what_does_not_exist() -> None:
    grid = Grid(space_of(TREE))
    points = [grid.point(number) for number in range(grid.size)]
    assert grid.size == (1 + 3) * 3 * 3
    assert len({tuple(sorted(point.items())) for point in points}) == grid.size
    assert all(("weight_gain" in point) is (point["weight_init"] == "normal") for point in points)
    assert Counter(point["epochs"] for point in points) == {10: 12, 15: 12, 20: 12}


@pytest.mark.parametrize(
    ("parameter", "values"),
    [
        (Parameter(FloatDistribution(0.1, 0.9), points=5), (0.1, 0.3, 0.5, 0.7, 0.9)),
        (Parameter(FloatDistribution(0.01, 1.0, log=True)), (0.01, 0.1, 1.0)),
        (Parameter(FloatDistribution(0.0, 1.0), points=1), (0.5,)),
        (Parameter(FloatDistribution(0.0, 1.0, step=0.25)), (0.0, 0.5, 1.0)),
        (Parameter(IntDistribution(1, 2), points=7), (1, 2)),
        (Parameter(IntDistribution(1, 100, log=True)), (1, 10, 100)),
        (Parameter(CategoricalDistribution(["a", "b"]), points=7), ("a", "b")),
    ],
)
def test_the_values_of_a_grid(parameter: Parameter, values: tuple[Any, ...]) -> None:
    assert values_of(parameter) == pytest.approx(values)


@given(
    low=st.integers(1, 50), length=st.integers(0, 300), step=st.integers(1, 9), points=st.integers(1, 40),
    log=st.booleans(), share=st.floats(0, 1, exclude_max=True),
)  # fmt: skip
def test_every_value_can_be_drawn(*, low: int, length: int, step: int, points: int, log: bool, share: float) -> None:
    high = low + length // step * step
    for found in (
        IntDistribution(low, high, log=log, step=1 if log else step),
        FloatDistribution(low / 8, high / 8, log=log, step=None if log else step / 8),
    ):
        parameter = Parameter(found, points=points)
        values = values_of(parameter)
        assert 1 <= len(values) <= points
        assert list(values) == sorted(set(values))
        for value in (*values, value_at(parameter, share)):
            assert found.low <= value <= found.high  # type: ignore[operator]
            assert isinstance(value, int if isinstance(found, IntDistribution) else float)


def test_a_small_budget_is_spread_over_a_grid_in_an_order_of_its_seed() -> None:
    parameters = {"pruning_rate": Parameter(FloatDistribution(0.0, 0.9), points=100)}
    grids = [Grid(space_of(parameters, seed=seed)) for seed in (0, 0, 1)]
    one, same, other = ([grid.point(number)["pruning_rate"] for number in range(10)] for grid in grids)
    assert one == same != other
    assert all(Counter(int(float(value) * 5) for value in rates).keys() >= {0, 1, 2, 3} for rates in (one, other))


def test_a_sequence_takes_every_choice_and_every_part_of_a_range_equally_often() -> None:
    sequence = Sobol(space_of(TREE, "qmc"))
    points = [sequence.point(number) for number in range(64)]
    assert Counter(point["weight_init"] for point in points) == {"signed_constant": 32, "normal": 32}
    assert Counter(float(point["learning_rate"]) > 0.1 for point in points) == {True: 32, False: 32}
    assert points[17] == Sobol(space_of(TREE, "qmc")).point(17) != Sobol(space_of(TREE, "qmc", seed=1)).point(17)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_ready_space_has_a_grid_that_its_budget_fits_in_and_that_stays(path: Path, tmp_path: Path) -> None:
    space = load(path, overrides={"sampler.name": "grid"})
    size = grid_size(space)
    assert size
    assert space.trials <= size
    again = tmp_path / "space.yaml"
    again.write_text(space.to_yaml())
    assert load(again, overrides={"budget.trials": 1}).parameters == space.parameters


def test_more_trials_than_combinations_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(
        "name: s\nsearch: {pruning_rate: {low: 0.1, high: 0.9, points: 5}}\n"
        "budget: {trials: 6}\nsampler: {name: grid}\n"
    )
    with pytest.raises(SpaceError) as raised:
        load(path)
    rule = "budget.trials: a grid has as many trials as combinations at most, but got 6 of 5. "
    assert rule in str(raised.value)
    made = space_of({"pruning_rate": Parameter(FloatDistribution(0.1, 0.9), points=5)}, trials=6)
    with pytest.raises(SpaceError, match="points: 5"):
        check_budget(made)


@pytest.mark.parametrize("points", [0, 1001, 2.5])
def test_points_must_be_a_small_number(tmp_path: Path, points: float) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(
        f"name: s\nsearch: {{pruning_rate: {{low: 0.1, high: 0.9, points: {points}}}}}\nbudget: {{trials: 1}}\n"
    )
    with pytest.raises(SpaceError, match=r"search\.pruning_rate\.points"):
        load(path)
