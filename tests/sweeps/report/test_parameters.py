"""What a report shows of the searched parameters."""

from collections.abc import Callable
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from search_spaces.space import Parameter, SearchSpace
from sweeps.report import parameters
from tests.sweeps.conftest import network_table

Row = dict[str, Any]


def test_a_parameter_is_an_axis_with_a_value_per_network(
    ended_row: Callable[..., Row], small_space: Callable[..., SearchSpace]
) -> None:
    networks = network_table([ended_row(0, pruning_rate=0.25), ended_row(1, pruning_rate=0.5)])
    found = parameters.parameters(small_space(), networks)
    assert found[0] == {
        "name": "pruning_rate",
        "label": "pruning rate",
        "low": 0.05,
        "high": 0.95,
        "log": False,
        "values": [0.25, 0.5],
    }
    assert (found[1]["name"], found[1]["log"]) == ("learning_rate", True)


def test_a_parameter_that_a_trial_did_not_have_is_none(
    ended_row: Callable[..., Row], small_space: Callable[..., SearchSpace]
) -> None:
    rules = Parameter(CategoricalDistribution(["threshold", "target"]))
    decay = Parameter(FloatDistribution(1e-5, 1e-3, log=True), when={"mask_rule": "threshold"})
    space = small_space(parameters={"mask_rule": rules, "weight_decay": decay})
    rows = [ended_row(0, weight_decay=1e-4), ended_row(1, mask_rule="target", weight_decay=0.5)]
    rule, held = parameters.parameters(space, network_table(rows))
    assert (rule["choices"], rule["values"]) == (["threshold", "target"], ["threshold", "target"])
    assert held["values"] == [1e-4, None]


def test_a_choice_is_shown_by_what_the_results_hold(
    ended_row: Callable[..., Row], small_space: Callable[..., SearchSpace]
) -> None:
    space = small_space(parameters={"weight_gain": Parameter(CategoricalDistribution(["elu", "elus"]))})
    networks = network_table([ended_row(0, weight_gain=1.25), ended_row(1, weight_gain=0.75)])
    (found,) = parameters.parameters(space, networks)
    assert (found["choices"], found["values"]) == ([0.75, 1.25], [1.25, 0.75])


def test_effects_are_in_percent_with_the_pruning_rate_first(
    ended_row: Callable[..., Row], small_space: Callable[..., SearchSpace]
) -> None:
    # Two rates make two bins of five: accuracies 0.80 to 0.84, then 0.85 to 0.89.
    rows = [ended_row(k, pruning_rate=0.2 if k < 5 else 0.6, val_accuracy=0.8 + k / 100) for k in range(10)]
    turned = dict(reversed(small_space().parameters.items()))
    found = parameters.effects(network_table(rows), small_space(parameters=turned))
    assert list(found) == ["pruning_rate", "learning_rate"]
    accuracy, remaining = found["pruning_rate"]
    assert (accuracy["label"], remaining["label"]) == ("validation accuracy (%)", "remaining weights (%)")
    assert (accuracy["middle"], accuracy["count"]) == ([0.2, 0.6], [5, 5])
    assert accuracy["mean"] == pytest.approx([82, 87])
    assert accuracy["best"] == [84, 89]
    # t(0.975, 4) = 2.776; the standard deviation of 0, 1, 2, 3, 4 is sqrt(2.5)
    reach = 2.776 * (2.5 / 5) ** 0.5
    assert accuracy["ci_low"] == pytest.approx([82 - reach, 87 - reach], abs=0.01)
    assert accuracy["ci_high"] == pytest.approx([82 + reach, 87 + reach], abs=0.01)


def test_without_networks_there_are_no_effects(
    ended_row: Callable[..., Row], small_space: Callable[..., SearchSpace]
) -> None:
    networks = network_table([])
    assert parameters.effects(networks, small_space()) == {}
    assert parameters.importances(networks, small_space()) == []


def test_importances_name_targets_and_parameters_in_words(
    ended_row: Callable[..., Row], small_space: Callable[..., SearchSpace]
) -> None:
    rows = [
        ended_row(k, pruning_rate=0.1 + k / 60, learning_rate=0.01 * (1 + k % 7), remaining=0.9 - k / 60)
        for k in range(50)
    ]
    found = parameters.importances(network_table(rows), small_space())
    assert [target for target, _ in found][1:] == ["remaining weights", "all together (hypervolume)"]
    shares = dict(found)["remaining weights"]
    assert shares[0][0] == "pruning rate"
    assert sum(share for _, share in shares) == pytest.approx(1)
