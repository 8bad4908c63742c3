"""Fields that mean something only with some values of another one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from search_spaces.errors import SpaceError
from search_spaces.load import load

RULE = "must be left out unless method is signed or zhou or edge_popup or multi_prize, but got"

BAD = [
    # fixed, search, the one fault
    (
        "{method: dense}",
        "pruning_rate: {low: 0.1, high: 0.9}",
        f"search.pruning_rate: {RULE} method 'dense'. Remove it; from the command line: --set fixed.pruning_rate=0.5.",
    ),
    (
        "{method: dense, pruning_rate: 0.7}",
        "learning_rate: {low: 0.1, high: 0.9}",
        f"fixed.pruning_rate: {RULE} method 'dense'. Remove it; from the command line: --set fixed.pruning_rate=0.5.",
    ),
    (
        "{}",
        "method: [signed, dense]\n  pruning_rate: {low: 0.1, high: 0.9}",
        f"search.pruning_rate: {RULE} method 'dense'. Remove it, or add `when: {{method: signed}}`; "
        "from the command line: --set fixed.pruning_rate=0.5.",
    ),
    (
        "{}",
        "plateau_patience: {low: 1, high: 20}",
        "search.plateau_patience: must be left out unless schedule is plateau, but got schedule 'exponential'. "
        "Remove it; from the command line: --set fixed.plateau_patience=15.",
    ),
    (
        "{pruning_rate: 0.7}",
        "network: [fcn, conv2]\n  method: {choices: [dense, zhou], when: {network: conv2}}",
        f"fixed.pruning_rate: {RULE} method 'dense'. Remove it, or add `when: {{method: signed}}`; "
        "from the command line: --set fixed.pruning_rate=0.5.",
    ),
]
GOOD = [
    ("{method: dense, pruning_rate: 0.5, mask_rule: threshold}", "learning_rate: {low: 0.1, high: 0.9}"),
    ("{}", "method: [signed, dense]\n  pruning_rate: {low: 0.1, high: 0.9, when: {method: signed}}"),
    ("{}", "method: [signed, zhou, edge_popup, multi_prize]\n  pruning_rate: {low: 0.1, high: 0.9}"),
    ("{schedule: plateau, network: resnet20, stem_norm: trained}", "plateau_factor: {low: 0.1, high: 0.5}"),
]


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str, str], None]:
    def write(fixed: str, search: str) -> None:
        path = tmp_path / "space.yaml"
        path.write_text(f"name: a\nbudget: {{trials: 1}}\nfixed: {fixed}\nsearch:\n  {search}\n", encoding="utf-8")
        load(path)

    return write


@pytest.mark.parametrize(("fixed", "search", "fault"), BAD)
def test_message_about_a_field_without_its_owner(
    fixed: str, search: str, fault: str, read: Callable[[str, str], None]
) -> None:
    with pytest.raises(SpaceError) as caught:
        read(fixed, search)
    assert [line.split(": ", 1)[1] for line in caught.value.faults] == [fault]


@pytest.mark.parametrize(("fixed", "search"), GOOD)
def test_a_field_with_its_owner_or_its_default_is_legal(
    fixed: str, search: str, read: Callable[[str, str], None]
) -> None:
    read(fixed, search)
