import dataclasses
import typing

import pytest

from search_spaces import schema, vocabulary
from supermask import config


def test_fields_repeat_the_training_configuration_value_for_value() -> None:
    ours = {name: dataclasses.asdict(rule) for name, rule in vocabulary.FIELDS.items()}
    theirs = {name: dataclasses.asdict(rule) for name, rule in config.RULES.items()}

    assert ours == theirs
    assert list(ours) == list(theirs) == [field.name for field in dataclasses.fields(config.TrainConfig)]
    assert vocabulary.GAINS == config.GAINS
    assert vocabulary.OWNERS == config.OWNERS
    assert {name: getattr(config.TrainConfig, name) for name in vocabulary.DEFAULTS} == vocabulary.DEFAULTS
    assert set(vocabulary.DEFAULTS) == {*config.OWNERS, *(owner for owner, _ in config.OWNERS.values())}


@pytest.mark.parametrize("name", list(vocabulary.FIELDS))
def test_a_rule_agrees_with_the_training_configuration(name: str) -> None:
    ours, theirs = vocabulary.FIELDS[name], config.RULES[name]
    edges = [ours.low, ours.high, -1, 0, 1, 2, 1.0, 0.5, 0.9, 1e-300, 1e300, float("nan"), float("inf"), 2**63]
    for value in [*edges, *ours.choices, "", "no such name", None, True, [], {}]:
        assert (ours.has_kind(value) and ours.holds(value)) == theirs.admits(value), value


def test_the_schema_names_every_sampler() -> None:
    names = schema.SamplerEntry.model_fields["name"].annotation

    assert typing.get_args(names) == vocabulary.SAMPLERS


def test_fractions_are_metrics() -> None:
    assert set(vocabulary.FRACTIONS) < set(vocabulary.METRICS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pruning_rate", "0 <= pruning_rate < 1"),
        ("width", "0 < width <= 64"),
        ("learning_rate", "0 < learning_rate"),
        ("dataset", "dataset"),
    ],
)
def test_bounds_in_words(name: str, text: str) -> None:
    assert vocabulary.FIELDS[name].bounds(name) == text


def test_exact_is_the_written_number() -> None:
    assert vocabulary.exact(0.1) * 3 == vocabulary.exact(0.3)
    assert vocabulary.exact(10**5000) == 10**5000
    assert not vocabulary.is_finite(10**5000)
