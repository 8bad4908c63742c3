"""The nearest legal name to one that does not exist."""

from collections.abc import Iterable

import pytest

from search_spaces.faults import nearest
from search_spaces.vocabulary import DIRECTIONS
from supermask.config import RULES

NETWORKS = RULES["network"].choices


@pytest.mark.parametrize(
    ("name", "legal", "meant"),
    [
        ("momentm", RULES, "momentum"),
        ("batchsize", RULES, "batch_size"),
        ("learningRate", RULES, "learning_rate"),
        ("prune", RULES, "pruning_rate"),
        ("EPOCHS", RULES, "epochs"),
        ("FCN", NETWORKS, "fcn"),
        ("resnet", NETWORKS, "resnet56"),
        ("MAX", DIRECTIONS, "maximize"),
    ],
)
def test_a_misspelling_gets_the_nearest_name_whatever_its_capitals(name: str, legal: Iterable[str], meant: str) -> None:
    assert nearest(name, legal) == f"Did you mean {meant!r}?"
