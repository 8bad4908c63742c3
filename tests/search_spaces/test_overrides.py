from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from search_spaces import overrides
from search_spaces.errors import SpaceError
from search_spaces.load import load
from search_spaces.space import SearchSpace

TEXT = """
name: a
fixed: {network: fcn, epochs: 30}
search:
  mask_rule: [threshold, target]
  learning_rate: {low: 0.01, high: 1.0}
  momentum: {low: 0.1, high: 0.5, when: {mask_rule: target}}
  decay_rate: {choices: [0.5, 0.9], when: {mask_rule: threshold}}
  score_gain: {choices: [1, 2], when: {decay_rate: 0.5}}
budget: {trials: 4}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "space.yaml"
    path.write_text(TEXT)
    return path


def faults_of(path: Path, changes: dict[str, Any]) -> list[str]:
    with pytest.raises(SpaceError) as caught:
        load(path, overrides=changes)
    return [fault.removeprefix(str(path)) for fault in caught.value.faults]


def test_values_take_the_place_of_the_file(path: Path) -> None:
    changes = {"name": "b", "search.learning_rate.high": 0.5, "budget.trials": 8, "sampler.seed": 3, "fixed.width": 2}

    space = load(path, overrides=changes)

    assert (space.name, space.trials, space.sampler.seed) == ("b", 8, 3)
    assert space.parameters["learning_rate"].distribution == FloatDistribution(0.01, 0.5)
    assert space.fixed == {"epochs": 30, "network": "fcn", "width": 2.0}


def test_fixing_a_searched_field_ends_its_search(path: Path) -> None:
    space = load(path, overrides={"fixed.learning_rate": 0.1})

    assert space.fixed["learning_rate"] == 0.1
    assert "learning_rate" not in space.parameters


def test_fixing_a_field_removes_what_can_no_longer_apply(path: Path) -> None:
    space: SearchSpace = load(path, overrides={"fixed.mask_rule": "target"})

    assert list(space.parameters) == ["learning_rate", "momentum"]
    assert space.parameters["momentum"].when == {}


def test_searching_a_fixed_field_frees_it(path: Path) -> None:
    space = load(path, overrides={"search.network": ["fcn", "conv2"], "search.epochs": [1, 2]})

    assert space.fixed == {}
    assert space.parameters["network"].distribution == CategoricalDistribution(["fcn", "conv2"])


def test_the_overrides_are_part_of_the_written_space(path: Path, tmp_path: Path) -> None:
    space = load(path, overrides={"fixed.mask_rule": "target", "fixed.epochs": 2})
    written = tmp_path / "written.yaml"
    written.write_text(space.to_yaml())

    assert load(written) == space


def test_overrides_change_neither_their_arguments_nor_the_document(path: Path) -> None:
    entry: dict[str, Any] = {"low": 0.1, "high": 0.2}
    changes = {"search.width": entry, "search.width.high": 0.3}

    assert load(path, overrides=changes).parameters["width"].distribution == FloatDistribution(0.1, 0.3)
    assert entry == {"low": 0.1, "high": 0.2}


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        (
            {"search.learning_rate.high": 0.001},
            [
                " with --set search.learning_rate.high: search.learning_rate: low <= high must hold, "
                "but got low 0.01 and high 0.001. Swap them."
            ],
        ),
        (
            {"search.learning_rate": {"low": "1e-3", "high": 1}},
            [
                " with --set search.learning_rate: search.learning_rate.low: must be a finite number, "
                "but got '1e-3'. YAML reads 1e-3 as text; write 1.0e-3."
            ],
        ),
        (
            {"budget.trials": 0, "fixed.momentm": 1},
            [
                " with --set budget.trials: budget.trials: trials >= 1 must hold, but got 0. "
                "Choose a value inside the range.",
                " with --set fixed.momentm: fixed.momentm: must be a known field, but got 'momentm'. "
                "Did you mean 'momentum'?",
            ],
        ),
        (
            {"epochs": 3},
            [
                " with --set epochs: epochs: must be a known key, but got 'epochs'. "
                "It is a field of a trial: write 'fixed.epochs' or 'search.epochs'.",
            ],
        ),
        (
            {"budgets.trials": 2},
            [
                " with --set budgets.trials: budgets: must be a known key, but got 'budgets'. Did you mean 'budget'?",
            ],
        ),
        (
            {"name.x": 1},
            [
                " with --set name.x: name.x: an override leads through mappings, and name must be one, but got 'a'. "
                "Override name itself."
            ],
        ),
        (
            {"search.mask_rule.0": "target"},
            [
                " with --set search.mask_rule.0: search.mask_rule.0: an override leads through mappings, and "
                "search.mask_rule must be one, but got ['threshold', 'target']. Override search.mask_rule itself."
            ],
        ),
        (
            {"fixed..x": 1},
            [": an override must be a dotted path, but got 'fixed..x'. Write it like --set fixed.epochs=30."],
        ),
        ({"": 1}, [": an override must be a dotted path, but got ''. Write it like --set fixed.epochs=30."]),
        (
            {"budget.epochs": 4},
            [
                " with --set budget.epochs: budget.epochs: must be a known key, but got 'epochs'. It is a field of a "
                "trial: write 'fixed.epochs' or 'search.epochs'."
            ],
        ),
        (
            {"fixed.momentum": 0.5, "search.momentum": [0.5]},
            [
                " with --set search.momentum: search.momentum: a field is fixed or searched, but got it here and in "
                "fixed. Remove it from one of the two."
            ],
        ),
    ],
    ids=str,
)
def test_message_about_an_override(path: Path, changes: dict[str, Any], faults: list[str]) -> None:
    assert faults_of(path, changes) == faults


def test_nothing_left_to_search(path: Path) -> None:
    changes = {"fixed.mask_rule": "target", "fixed.learning_rate": 0.1, "fixed.momentum": 0.1}

    assert faults_of(path, changes) == [
        ": search: at least one field must be searched, but got none. "
        "Add e.g. `learning_rate: {low: 0.01, high: 1.0, log: true}`."
    ]


def test_overrides_are_read_from_a_command_line() -> None:
    texts = ["fixed.epochs=5", "search.width=[1, 2.0]", "name=a=b", "fixed.dataset=folder:x", "sampler.seed="]

    assert overrides.parse(texts) == {
        "fixed.epochs": 5,
        "search.width": [1, 2.0],
        "name": "a=b",
        "fixed.dataset": "folder:x",
        "sampler.seed": None,
    }


def test_message_about_a_command_line() -> None:
    with pytest.raises(SpaceError) as caught:
        overrides.parse(["fixed.epochs", "a=[1", "b=2024-13-45", "c=1"])

    rule = "--set: must read PATH=VALUE, the value in YAML, but got"
    assert caught.value.faults == [
        f"{rule} 'fixed.epochs'. E.g. fixed.epochs=30.",
        f"{rule} 'a=[1'. E.g. fixed.epochs=30.",
        f"{rule} 'b=2024-13-45'. E.g. fixed.epochs=30.",
    ]
