from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search_spaces.space import Constraint, SearchSpace
from sweeps import confirmations, results
from sweeps.analysis import selection
from sweeps.analysis.recommendation import Recommendation, line, recommend
from sweeps.confirmations import ConfirmationWriter
from sweeps.pareto import Table
from tests.sweeps.conftest import last_networks

Space = Callable[..., SearchSpace]
EndedRow = Callable[..., dict[str, Any]]

# trial: accuracy, remaining, pruning rate; the knee is trial 2, see test_selection
POINTS = {
    0: (0.990, 0.500, 0.2),
    1: (0.985, 0.050, 0.5),
    2: (0.970, 0.020, 0.8),
    3: (0.960, 0.018, 0.9),
    4: (0.600, 0.005, 0.95),
    5: (0.965, 0.025, 0.6),
    6: (0.900, 0.050, 0.1),
}


@pytest.fixture
def rows(ended_row: EndedRow) -> list[dict[str, Any]]:
    return [
        ended_row(trial, val_accuracy=accuracy, remaining=remaining, pruning_rate=rate)
        for trial, (accuracy, remaining, rate) in POINTS.items()
    ]


def advise(rows: list[dict[str, Any]], space: SearchSpace, *more: Any, **asked: Any) -> Recommendation | None:
    """The recommendation out of trials, each with its last network."""
    return recommend(last_networks(rows), results.trials_table(rows), space, *more, **asked)


@pytest.fixture
def confirmed(tmp_path: Path, ended_row: EndedRow) -> Callable[..., Table]:
    """Confirmations of trial 2 with these test accuracies."""

    def build(*accuracies: float) -> Table:
        writer = ConfirmationWriter(tmp_path / "confirm")
        config = {name: value for name, value in ended_row(2).items() if name in results.CONFIG_COLUMNS}
        writer.write(
            {
                "trial": 2,
                "epoch": 2,
                "seed_index": index,
                "state": "finished",
                "val_accuracy": 0.97,
                "test_accuracy": accuracy,
                "remaining": 0.02,
            }
            | config
            for index, accuracy in enumerate(accuracies)
        )
        return confirmations.load(tmp_path / "confirm")

    return build


def test_the_knee_is_recommended_with_what_to_do_next(rows: list[dict[str, Any]], small_space: Space) -> None:
    found = advise(rows, small_space(), None)
    assert found is not None
    assert found.key == (2, 2)
    assert found.config["pruning_rate"] == found.pruning_rate == 0.8
    assert found.metrics == {
        "estimate": 0.97,
        "standard_error": 0.01,
        "val_accuracy": 0.97,
        "remaining": 0.02,
        "inverted": 0.1,
        "test_accuracy": 0.88,
    }
    # A tenth of the spans, 0.39 and ln(100), allows accuracies from 0.931 and remaining up to 0.0317.
    assert (found.near, found.pruning_rates) == (3, (0.6, 0.9))
    assert found.commands == {
        "confirm": "sweeps confirm small --select 2@2 --seeds 10",
        "train": "sweeps train small:2@2",
        "export": "sweeps export small:2@2 --to torch",
        "ask": "sweeps pareto small --min accuracy=0.99",
    }
    assert found.rule == "knee of the front: beyond it, fewer weights cost accuracy fast"
    assert line(found) == (
        "recommended: network 2@2, initial pruning rate 0.80 (0.60 to 0.90 in 3 near-equal trials), expected accuracy "
        "97.00 ± 1.00 %, remaining 2.00 %; one seed; confirm it: sweeps confirm small --select 2@2 --seeds 10"
    )


def test_it_keeps_to_the_constraints(rows: list[dict[str, Any]], small_space: Space) -> None:
    space = small_space(constraints=(Constraint("val_accuracy", ">=", 0.98),))
    found = advise(rows, space, None)
    assert found is not None
    assert found.key == (0, 2)  # of two members, the more accurate
    assert (
        found.rule == "greatest val_accuracy of the front of the networks with val_accuracy >= 0.98, which has no knee"
    )
    nothing = small_space(constraints=(Constraint("val_accuracy", ">=", 0.999),))
    assert advise(rows, nothing, None) is None
    assert advise([], small_space()) is None


@pytest.mark.parametrize(
    ("bound", "trial", "rule"),
    [
        (Constraint("val_accuracy", ">=", 0.975), 1, "least remaining of the networks with val_accuracy >= 0.975"),
        (Constraint("remaining", "<=", 0.1), 1, "greatest val_accuracy of the networks with remaining <= 0.1"),
        (
            Constraint("inverted", "<=", 0.5),
            2,
            "knee of the front of the networks with inverted <= 0.5: beyond it, fewer ",
        ),
    ],
)
def test_who_asks_for_one_objective_gets_the_best_of_the_other(
    rows: list[dict[str, Any]], small_space: Space, bound: Constraint, trial: int, rule: str
) -> None:
    found = advise(rows, small_space(), asked=[bound])
    assert found is not None
    assert found.key == (trial, 2)
    assert found.rule.startswith(rule)


def test_the_knee_of_other_objectives_is_said_without_accuracy_and_weights(
    rows: list[dict[str, Any]], small_space: Space
) -> None:
    for row in rows:
        row["val_loss"] = 1 - row["val_accuracy"]
    objectives = {"val_loss": "minimize", "remaining": "minimize"}
    found = advise(rows, small_space(objectives=objectives))
    assert found is not None
    assert found.key == (2, 2)
    assert found.rule == "knee of the front: beyond it, a little more of one objective costs much of the other"


@pytest.mark.parametrize("bound", [Constraint("val_accuracy", ">=", 0.9), Constraint("remaining", "<=", 0.05)])
def test_with_a_bound_it_is_what_select_best_takes_whatever_the_objectives_are(
    rows: list[dict[str, Any]], small_space: Space, bound: Constraint
) -> None:
    for row in rows:
        row["val_loss"] = 1 - row["val_accuracy"]
    space = small_space(objectives={"val_loss": "minimize", "remaining": "minimize"})
    found = advise(rows, space, asked=[bound])
    asked = selection.Selection("best", label="best", bound=bound)
    (best,) = selection.select(asked, last_networks(rows), results.trials_table(rows), space)
    assert found is not None
    assert found.key == (best["trial"], best["epoch"])


@pytest.mark.parametrize("asked", [(), (Constraint("val_accuracy", ">=", 0.9),)])
def test_of_one_objective_it_is_the_best_trial_bounded_or_not(
    rows: list[dict[str, Any]], small_space: Space, asked: tuple[Constraint, ...]
) -> None:
    found = advise(rows, small_space(objectives={"val_accuracy": "maximize"}), asked=asked)
    assert found is not None
    assert found.key == (0, 2)
    assert found.rule.startswith("greatest val_accuracy")


@pytest.mark.parametrize("text", ["best:accuracy>=0.975", "best:accuracy>=0.9", "best:remaining<=0.02"])
def test_it_is_the_trial_that_confirm_chooses_for_the_same_bound(
    rows: list[dict[str, Any]], small_space: Space, text: str
) -> None:
    asked = selection.parse(text)
    assert asked.bound
    found = advise(rows, small_space(), asked=[asked.bound])
    assert found is not None
    chosen = selection.select(asked, last_networks(rows), results.trials_table(rows), small_space())
    assert [found.key] == [(row["trial"], row["epoch"]) for row in chosen]


@pytest.mark.parametrize("further", [1, 2])
def test_it_says_when_the_pruning_rate_hardly_matters(
    rows: list[dict[str, Any]], small_space: Space, ended_row: EndedRow, further: int
) -> None:
    rows[5]["pruning_rate"] = 0.1  # near the best one, which has 0.8, and 3 has 0.9; the search goes from 0.05 to 0.95
    near = {"val_accuracy": 0.965, "remaining": 0.025, "pruning_rate": 0.5}
    rows += [ended_row(len(rows) + place, **near) for place in range(further)]
    found = advise(rows, small_space())
    assert found is not None
    assert not found.rate_matters
    hardly = ": it hardly matters here, the other parameters do" if further == 2 else ""
    assert f"(0.10 to 0.90 in {3 + further} near-equal trials{hardly})" in line(found)


def test_the_test_set_decides_nothing(rows: list[dict[str, Any]], small_space: Space, confirmed: Any) -> None:
    rows[5]["test_accuracy"] = 1.0
    found = advise(rows, small_space(), confirmed(0.1, 0.2))
    assert found is not None
    assert found.key == (2, 2)


def test_what_is_confirmed_is_said_with_its_interval(
    rows: list[dict[str, Any]], small_space: Space, confirmed: Any
) -> None:
    found = advise(rows, small_space(), confirmed(0.96, 0.98))
    assert found is not None
    assert found.confirmed is not None
    assert found.confirmed.test_accuracy.mean == pytest.approx(0.97)
    # t(0.975, 1) = 12.706 times 0.01414 / sqrt(2)
    assert line(found) == (
        "recommended: network 2@2, initial pruning rate 0.80 (0.60 to 0.90 in 3 near-equal trials), 97.00 % [84.29, "
        "109.71] test accuracy at 2.00 % remaining, 2 fresh seeds; export it: sweeps export small:2@2 --to torch"
    )


def test_one_seed_confirms_nothing(rows: list[dict[str, Any]], small_space: Space, confirmed: Any) -> None:
    found = advise(rows, small_space(), confirmed(0.96))
    assert found is not None
    assert found.confirmed is not None
    assert found.confirmed_by_several is None
    assert "one seed; confirm it" in line(found)


def test_one_objective_and_three(rows: list[dict[str, Any]], small_space: Space) -> None:
    best = advise(rows, small_space(objectives={"val_accuracy": "maximize"}))
    assert best is not None
    assert (best.key, best.rule) == ((0, 2), "greatest val_accuracy")
    objectives = {"val_accuracy": "maximize", "remaining": "minimize", "inverted": "minimize"}
    knee = advise(rows, small_space(objectives=objectives))
    assert knee is not None
    assert knee.key == (2, 2)


def test_a_dense_network_has_no_pruning_rate(small_space: Space, ended_row: EndedRow) -> None:
    found = advise([ended_row(0, method="dense", remaining=1.0)], small_space(), None)
    assert found is not None
    assert (found.pruning_rate, found.pruning_rates, found.near) == (None, None, 1)
    assert line(found).startswith(
        "recommended: network 0@2, expected accuracy 90.00 ± 1.00 %, remaining 100.00 %; one seed"
    )


def test_a_network_without_weights_breaks_nothing(small_space: Space, ended_row: EndedRow) -> None:
    rows = [ended_row(0, remaining=0.0, val_accuracy=0.1), ended_row(1, remaining=0.5, val_accuracy=0.9)]
    found = advise(rows, small_space(), None)
    assert found is not None
    assert found.key == (1, 2)
    only = advise(rows[:1], small_space(), None)
    assert only is not None
    assert (only.key, only.near) == ((0, 2), 1)
