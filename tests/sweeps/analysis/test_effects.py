from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces.space import Parameter, SearchSpace
from sweeps.analysis.effects import effect
from sweeps.errors import SweepError
from tests.sweeps.conftest import network_table

Space = Callable[..., SearchSpace]
EndedRow = Callable[..., dict[str, Any]]
COLUMNS = ["low", "high", "middle", "n", "mean", "ci_low", "ci_high", "best"]


def test_a_table_that_a_person_can_check(small_space: Space, ended_row: EndedRow) -> None:
    points = {0.1: 0.90, 0.2: 0.92, 0.3: 0.70, 0.4: 0.80, 0.5: 0.75}
    rows = [ended_row(trial, pruning_rate=p, val_accuracy=a) for trial, (p, a) in enumerate(points.items())]
    ignored = [ended_row(9, pruning_rate=0.1, val_accuracy=None)]
    table = effect(network_table(rows + ignored), "pruning_rate", "val_accuracy", space=small_space(), bins=2)
    first, second = table.to_pylist()
    assert list(first) == COLUMNS
    assert (first["low"], first["high"], first["middle"], first["n"]) == pytest.approx((0.1, 0.3, 0.2, 2))
    assert (first["mean"], first["best"]) == pytest.approx((0.91, 0.92))
    # t(0.975, 1) = 12.706, standard deviation 0.02 / sqrt(2), so 12.706 * 0.01 on either side
    assert (first["ci_low"], first["ci_high"]) == pytest.approx((0.91 - 0.12706, 0.91 + 0.12706), abs=1e-5)
    assert (second["low"], second["high"], second["n"], second["best"]) == pytest.approx((0.3, 0.5, 3, 0.8))
    assert second["mean"] == pytest.approx(0.75)


def test_networks_of_stopped_trials_count_and_accuracy_is_the_estimate(small_space: Space, ended_row: EndedRow) -> None:
    table = network_table([ended_row(0, estimate=0.7), ended_row(1, "stopped", estimate=0.8)])
    (row,) = effect(table, "pruning_rate", "val_accuracy", space=small_space()).to_pylist()
    assert (row["n"], row["mean"], row["best"]) == (2, pytest.approx(0.75), 0.8)


def test_the_best_is_the_least_of_what_is_minimized(small_space: Space, ended_row: EndedRow) -> None:
    rows = [ended_row(trial, pruning_rate=0.5, remaining=trial / 10, inverted=trial / 5) for trial in (1, 2)]
    table = network_table(rows)
    for metric, best in (("remaining", 0.1), ("inverted", 0.2), ("val_accuracy", 0.89)):
        (row,) = effect(table, "pruning_rate", metric, space=small_space()).to_pylist()
        assert row["best"] == pytest.approx(best)
    space = small_space(objectives={"inverted": "maximize"})
    assert effect(table, "pruning_rate", "inverted", space=space).to_pylist()[0]["best"] == pytest.approx(0.4)


def test_a_logarithmic_range_has_its_middle_there(small_space: Space, ended_row: EndedRow) -> None:
    rows = [ended_row(trial, learning_rate=10.0 ** (-trial / 10)) for trial in range(21)]
    table = effect(network_table(rows), "learning_rate", "val_accuracy", space=small_space(), bins=2)
    assert table.column("middle").to_pylist() == pytest.approx([10**-1.5, 10**-0.5])


def test_one_trial_has_no_interval(small_space: Space, ended_row: EndedRow) -> None:
    (row,) = effect(network_table([ended_row(0)]), "pruning_rate", "remaining", space=small_space()).to_pylist()
    assert row == {"low": 0.5, "high": 0.5, "middle": 0.5, "n": 1, "mean": 0.5, "best": 0.5} | {
        "ci_low": None,
        "ci_high": None,
    }


def test_choices_and_few_values_have_a_bin_each(small_space: Space, ended_row: EndedRow) -> None:
    parameters = {
        "schedule": Parameter(CategoricalDistribution(["exponential", "constant", "plateau"])),
        "batch_size": Parameter(IntDistribution(16, 64)),
        "decay_epochs": Parameter(FloatDistribution(1, 20), when={"schedule": "exponential"}),
        "decay_rate": Parameter(FloatDistribution(0.1, 1), when={"decay_epochs": 10.0}),
    }
    space = small_space(parameters=parameters)
    rows = [
        ended_row(trial, schedule=schedule, batch_size=16 * (1 + trial % 2))
        for trial, schedule in enumerate(["exponential"] * 3 + ["constant"] * 2)
    ]
    table = network_table(rows)
    names = effect(table, "schedule", "val_accuracy", space=space, bins=1)
    assert [(row["low"], row["high"], row["middle"], row["n"]) for row in names.to_pylist()] == [
        ("constant", "constant", "constant", 2),
        ("exponential", "exponential", "exponential", 3),
    ]
    sizes = effect(table, "batch_size", "val_accuracy", space=space).to_pylist()
    assert [(row["low"], row["n"]) for row in sizes] == [(16, 3), (32, 2)]
    # A trial whose schedule is constant has no decay, though the column shows the default; nor what hangs on it.
    for name in ("decay_epochs", "decay_rate"):
        assert effect(table, name, "val_accuracy", space=space).column("n").to_pylist() == [3]


def test_nothing_to_show_is_an_empty_table(small_space: Space, ended_row: EndedRow) -> None:
    table = effect(network_table([]), "pruning_rate", "remaining", space=small_space())
    assert (table.num_rows, table.column_names) == (0, COLUMNS)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            ("pruning", "remaining", 8),
            "parameter pruning: must be searched by the space small, but is not. Did you mean 'pruning_rate'?",
        ),
        (
            ("pruning_rate", "accuracy", 8),
            "metric accuracy: must be a column of the results, but there is none. Did you mean 'val_accuracy'?",
        ),
        (("pruning_rate", "remaining", 0), "bins: must be 1 or more, but got 0. Leave it out to have 8."),
    ],
)
def test_what_cannot_be_asked(
    small_space: Space, ended_row: EndedRow, asked: tuple[str, str, int], message: str
) -> None:
    parameter, metric, bins = asked
    with pytest.raises(SweepError) as raised:
        effect(network_table([ended_row(0)]), parameter, metric, space=small_space(), bins=bins)
    assert raised.value.message == message


@given(st.lists(st.floats(0.05, 0.95), min_size=1, max_size=40), st.integers(1, 9))
def test_every_trial_is_in_one_bin(rates: list[float], bins: int) -> None:
    space = SearchSpace(
        name="small",
        fixed={},
        parameters={"pruning_rate": Parameter(FloatDistribution(0.05, 0.95))},
        objectives={"val_accuracy": "maximize"},
        trials=1,
    )
    rows = [
        {"trial": trial, "attempt": 1, "epochs_done": 1, "pruning_rate": rate, "val_accuracy": rate}
        for trial, rate in enumerate(rates)
    ]
    found = effect(network_table(rows), "pruning_rate", "val_accuracy", space=space, bins=bins).to_pylist()
    assert sum(row["n"] for row in found) == len(rates)
    assert len(found) <= bins
    assert all(row["n"] for row in found)
    assert all(row["low"] <= row["mean"] + 1e-12 and row["mean"] <= row["high"] + 1e-12 for row in found)
    assert found[-1]["best"] == max(rates)
    total = np.average([row["mean"] for row in found], weights=[row["n"] for row in found])
    assert total == pytest.approx(np.mean(rates))
