"""From the options of a command to a search space, and to what its last session was told."""

from pathlib import Path
from typing import Any

import pytest

from search_spaces import shipped
from search_spaces.errors import SpaceError
from sweeps.driver.options import or_remembered
from sweeps.store.lease import write_session
from sweeps.store.paths import SweepPaths

SPACE = """
name: mine
fixed: {network: fcn, dataset: digits, epochs: 1}
search: {learning_rate: {low: 0.01, high: 1.0}}
budget: {trials: 4}
"""


@pytest.fixture
def mine(tmp_path: Path) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(SPACE)
    return str(path)


def test_options_stand_for_changes_and_changes_win(mine: str) -> None:
    found = shipped.find(mine, ["budget.trials=9"], {"--name": "other", "--trials": 3, "--seed": None})
    assert (found.name, found.trials, found.sampler.seed) == ("other", 9, 0)


@pytest.mark.parametrize(
    ("changes", "options", "place"),
    [
        ([], {"--trials": 0}, " with --trials: budget.trials: "),
        ([], {"--seed": -1}, " with --seed: sampler.seed: "),
        ([], {"--name": "../x"}, " with --name: name: "),
        (["budget.trials=0"], {}, " with --set budget.trials: budget.trials: "),
        (["budget.trials=0"], {"--trials": 3}, " with --set budget.trials: budget.trials: "),
    ],
)
def test_a_fault_names_the_option_that_was_typed(
    mine: str, changes: list[str], options: dict[str, Any], place: str
) -> None:
    with pytest.raises(SpaceError) as raised:
        shipped.find(mine, changes, options)
    (line,) = str(raised.value).splitlines()
    assert line.startswith(f"{mine}{place}")


@pytest.mark.parametrize(
    ("told", "given", "found"),
    [
        ({}, {"tracking_uri": None}, {"tracking_uri": None}),
        ({"tracking_uri": "http://a"}, {"tracking_uri": None}, {"tracking_uri": "http://a"}),
        ({"tracking_uri": "http://a"}, {"tracking_uri": ""}, {"tracking_uri": "http://a"}),
        ({"tracking_uri": "http://a"}, {"tracking_uri": "http://b"}, {"tracking_uri": "http://b"}),
        ({"tracking_uri": "http://a"}, {"data": "here"}, {"data": "here"}),
        ({"data": "/proc"}, {"data": None}, {"data": "/proc"}),
        ({"data": "/no/such/folder"}, {"data": None}, {"data": None}),
        ({"checkpoint_seconds": 60.0}, {"checkpoint_seconds": 0.0}, {"checkpoint_seconds": 0.0}),
    ],
)
def test_an_option_left_out_is_that_of_the_last_session(
    tmp_path: Path, told: dict[str, Any], given: dict[str, Any], found: dict[str, Any]
) -> None:
    paths = SweepPaths(tmp_path, "small")
    write_session(paths, {"state": "finished", "options": told})
    assert or_remembered(paths, **given) == found
