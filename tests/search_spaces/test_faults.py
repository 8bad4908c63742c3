"""Whether a name that does not exist is taken for another one."""

from collections.abc import Iterable

import pytest

from search_spaces.faults import nearest
from search_spaces.vocabulary import DIRECTIONS, FIELDS

NETWORKS = FIELDS["network"].choices


@pytest.mark.parametrize(
    ("name", "legal", "meant"),
    [
        ("momentm", FIELDS, "momentum"),
        ("batchsize", FIELDS, "batch_size"),
        ("learningRate", FIELDS, "learning_rate"),
        ("prune", FIELDS, "pruning_rate"),
        ("EPOCHS", FIELDS, "epochs"),
        ("FCN", NETWORKS, "fcn"),
        ("resnet", NETWORKS, "resnet56"),
        ("MAX", DIRECTIONS, "maximize"),
    ],
)
def test_a_misspelling_is_taken_for_the_name_it_is_like(name: str, legal: Iterable[str], meant: str) -> None:
    assert nearest(name, legal) == nearest(name, legal, told=False) == f"Did you mean {meant!r}?"


@pytest.mark.parametrize("name", ["foo", "lr", "optimizer", "vgg", "", "1", 1])
def test_a_name_like_no_other_is_not_taken_for_one(name: object) -> None:
    assert nearest(name, NETWORKS) == "Choose one of these."
    assert nearest(name, ["fcn", "conv2"], told=False) == "Choose one of fcn, conv2."
