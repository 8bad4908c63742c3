import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from search_spaces.space import Constraint, SearchSpace
from sweeps import results
from sweeps.analysis.selection import parse, select
from sweeps.errors import SweepError
from sweeps.results import epochs_table
from tests.sweeps.conftest import epoch_rows, last_networks

Space = Callable[..., SearchSpace]
EndedRow = Callable[..., dict[str, Any]]

# trial: validation accuracy, remaining, test accuracy (which turns the order round: nothing may look at it)
POINTS = {
    0: (0.990, 0.500, 0.1),
    1: (0.985, 0.050, 0.2),
    2: (0.970, 0.020, 0.3),
    3: (0.960, 0.018, 0.4),
    4: (0.600, 0.005, 0.5),
    5: (0.969, 0.030, 0.99),
}


class Rows:
    """Trials, and the last network of each."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.networks, self.trials = last_networks(rows), results.trials_table(rows)

    def select(self, text: str, space: SearchSpace) -> list[tuple[int, int]]:
        chosen = select(parse(text), self.networks, self.trials, space)
        return [(row["trial"], row["epoch"]) for row in chosen]


@pytest.fixture
def trials(ended_row: EndedRow) -> Rows:
    rows = [
        ended_row(trial, val_accuracy=accuracy, remaining=remaining, test_accuracy=test)
        for trial, (accuracy, remaining, test) in POINTS.items()
    ]
    return Rows(rows)


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("front", [0, 1, 2, 3, 4]),
        # Costs, log(remaining) and accuracy: 0 (1, 0), 1 (.5, .013), 2 (.301, .051), 3 (.278, .077), 4 (0, 1).
        ("knee", [2]),
        ("best:accuracy>=0.975", [1]),
        ("best:accuracy>=0.97", [2]),
        ("best:accuracy >= .9", [3]),
        ("best:val_accuracy>=0.5", [4]),
        ("best:remaining<=0.02", [2]),
        ("best:remaining<=0.019", [3]),
        ("best:remaining<=1", [0]),
        ("5", [5]),
        ("4, 0,4", [4, 0]),
        (" 2 ", [2]),
    ],
)
def test_what_is_chosen(trials: Rows, small_space: Space, text: str, chosen: list[int]) -> None:
    assert [trial for trial, _ in trials.select(text, small_space())] == chosen


def test_every_choice_but_numbers_keeps_to_the_constraints(trials: Rows, small_space: Space) -> None:
    space = small_space(constraints=(Constraint("remaining", "<=", 0.02), Constraint("val_accuracy", ">=", 0.9)))
    assert [trial for trial, _ in trials.select("front", space)] == [2, 3]
    assert [trial for trial, _ in trials.select("knee", space)] == [2]
    # Trial 1 has this accuracy, but too many weights.
    with pytest.raises(SweepError, match=r"keeps to remaining <= 0.02, val_accuracy >= 0.9, val_accuracy >= 0.98"):
        trials.select("best:accuracy>=0.98", space)
    assert [trial for trial, _ in trials.select("1", space)] == [1]


@pytest.mark.parametrize(
    "text", ["", "fornt", "best", "best:accuracy<=0.9", "best:remaining>=0.9", "best:test_accuracy>=0.9", "1;2", "-1",
             "1,", "1@", "@3", "1@2@3", "best:accuracy>=97", "best:accuracy>=1e", "best:accuracy>=nan", "12345678901"],
)  # fmt: skip
def test_what_is_no_selection_is_an_error_with_examples(text: str) -> None:
    with pytest.raises(SweepError) as raised:
        parse(text)
    assert raised.value.message == (
        "--select: must be front, knee, best:accuracy>=X, best:remaining<=X with X in [0, 1], or networks, but "
        f"got {text!r}. Write for example --select 'best:accuracy>=0.975' or --select 3@20,17."
    )


def test_networks_are_named_by_trial_and_epoch(small_space: Space, ended_row: EndedRow) -> None:
    rows = [ended_row(0, val_accuracy=0.9, epochs_done=3), ended_row(1, "failed", val_accuracy=0.8, epochs_done=2)]
    trials = Rows(rows)
    trials.networks = epochs_table(epoch for row in rows for epoch in epoch_rows(row)).drop_columns(["layers"])
    space = small_space()
    assert trials.select("0@2,1@1,0@2", space) == [(0, 2), (1, 1)]
    assert trials.select("0", space) == [(0, 1)]  # all of its networks are equal: the first is on the front
    assert trials.select("1", space) == [(1, 1)]  # it has fewer weights
    bounded = small_space(constraints=(Constraint("val_accuracy", ">=", 0.85),))
    assert trials.select("1", bounded) == [(1, 2)]  # none is on the front: its last one
    chosen = select(parse("0@2"), trials.networks, trials.trials, space)
    assert [row["epochs"] for row in chosen] == [2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0,77", ("--select 0,77: every trial must be", "but 77 is not", "There are: 0, 1, 2, 3, 4, 5.")),
        ("0@9", ("--select 0@9: the epoch must be", "0 has no epoch 9", "its last one is 2. Write 0@2.")),
    ],
)
def test_networks_that_do_not_exist_are_named(
    trials: Rows, small_space: Space, text: str, said: tuple[str, ...]
) -> None:
    with pytest.raises(SweepError) as raised:
        trials.select(text, small_space())
    assert all(part in raised.value.message for part in said)


@pytest.mark.parametrize(
    ("text", "keeping"),
    [
        ("best:accuracy>=0.999", " that keeps to remaining <= 0.001, val_accuracy >= 0.999"),
        ("front", " that keeps to remaining <= 0.001"),
    ],
)
def test_no_network_within_the_bounds(trials: Rows, small_space: Space, text: str, keeping: str) -> None:
    space = small_space(constraints=(Constraint("remaining", "<=", 0.001),))
    with pytest.raises(SweepError) as raised:
        trials.select(text, space)
    assert raised.value.message == (
        f"--select {text}: there must be a network{keeping}, but there is none. See what there is: sweeps pareto small."
    )


def test_a_row_without_its_configuration_cannot_be_trained_again(small_space: Space, ended_row: EndedRow) -> None:
    bare = {name: value for name, value in ended_row(3).items() if name in ("trial", "state", "attempt")}
    trials = Rows([ended_row(3)])
    trials.trials = results.trials_table([bare])
    with pytest.raises(SweepError, match="trial 3: its row must hold its configuration, but every field is null"):
        trials.select("3", small_space())


def test_it_loads_without_ray_mlflow_torch_and_scipy() -> None:
    code = (
        "import sys; from sweeps import confirmations; from sweeps.analysis import attainment, confirmed, selection; "
        "print([name for name in ('ray', 'mlflow', 'torch', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
