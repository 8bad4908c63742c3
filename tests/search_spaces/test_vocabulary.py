import typing

import pytest

from search_spaces import schema, vocabulary
from supermask.config import RULES, is_finite


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
    assert RULES[name].bounds(name) == text


def test_exact_is_the_written_number() -> None:
    assert vocabulary.exact(0.1) * 3 == vocabulary.exact(0.3)
    assert vocabulary.exact(10**5000) == 10**5000
    assert not is_finite(10**5000)
