import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from search_spaces.space import Constraint, SearchSpace
from sweeps import results
from sweeps.analysis.selection import parse, select
from sweeps.errors import SweepError

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


@pytest.fixture
def trials(ended_row: EndedRow) -> Any:
    rows = [
        ended_row(trial, val_accuracy=accuracy, remaining=remaining, test_accuracy=test)
        for trial, (accuracy, remaining, test) in POINTS.items()
    ]
    return results.trials_table([*rows, ended_row(6, "failed", val_accuracy=1.0, remaining=0.001)])


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
def test_what_is_chosen(trials: Any, small_space: Space, text: str, chosen: list[int]) -> None:
    assert [row["trial"] for row in select(parse(text), trials, small_space())] == chosen


def test_every_choice_but_numbers_keeps_to_the_constraints(trials: Any, small_space: Space) -> None:
    space = small_space(constraints=(Constraint("remaining", "<=", 0.02), Constraint("val_accuracy", ">=", 0.9)))
    assert [row["trial"] for row in select(parse("front"), trials, space)] == [2, 3]
    assert [row["trial"] for row in select(parse("knee"), trials, space)] == [2]
    # Trial 1 has this accuracy, but too many weights.
    with pytest.raises(SweepError, match=r"keeps to remaining <= 0.02, val_accuracy >= 0.9, val_accuracy >= 0.98"):
        select(parse("best:accuracy>=0.98"), trials, space)
    assert [row["trial"] for row in select(parse("1"), trials, space)] == [1]


@pytest.mark.parametrize(
    "text", ["", "fornt", "best", "best:accuracy<=0.9", "best:remaining>=0.9", "best:test_accuracy>=0.9", "1;2", "-1",
             "1,", "best:accuracy>=97", "best:accuracy>=1e", "best:accuracy>=nan", "12345678901"],
)  # fmt: skip
def test_what_is_no_selection_is_an_error_with_examples(text: str) -> None:
    with pytest.raises(SweepError) as raised:
        parse(text)
    assert raised.value.message == (
        "--select: must be front, knee, best:accuracy>=X, best:remaining<=X with X in [0, 1], or trial numbers, "
        f"but got {text!r}. Write for example --select 'best:accuracy>=0.975' or --select 3,17."
    )


def test_trials_that_did_not_finish_or_do_not_exist_are_told_together(trials: Any, small_space: Space) -> None:
    with pytest.raises(SweepError) as raised:
        select(parse("0,6,77"), trials, small_space())
    assert raised.value.message == (
        "--select 0,6,77: every trial must be a finished trial of the sweep, but 6, 77 are not. "
        "Finished are: 0, 1, 2, 3, 4, 5."
    )


@pytest.mark.parametrize(
    ("text", "keeping"),
    [
        ("best:accuracy>=0.999", " that keeps to remaining <= 0.001, val_accuracy >= 0.999"),
        ("front", " that keeps to remaining <= 0.001"),
    ],
)
def test_no_trial_within_the_bounds(trials: Any, small_space: Space, text: str, keeping: str) -> None:
    space = small_space(constraints=(Constraint("remaining", "<=", 0.001),))
    with pytest.raises(SweepError) as raised:
        select(parse(text), trials, space)
    assert raised.value.message == (
        f"--select {text}: there must be a finished trial{keeping}, but there is none. "
        "See what there is: sweeps pareto small."
    )


def test_a_row_without_its_configuration_cannot_be_trained_again(small_space: Space, ended_row: EndedRow) -> None:
    bare = {name: value for name, value in ended_row(3).items() if name in ("trial", "state", "attempt")}
    with pytest.raises(SweepError, match="trial 3: its row must hold its configuration, but every field is null"):
        select(parse("3"), results.trials_table([bare]), small_space())


def test_it_loads_without_ray_mlflow_torch_and_scipy() -> None:
    code = (
        "import sys; from sweeps import confirmations; from sweeps.analysis import attainment, confirmed, selection; "
        "print([name for name in ('ray', 'mlflow', 'torch', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
