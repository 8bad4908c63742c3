"""The display's best trials, against all trials."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps import pareto, results
from sweeps.driver.leaders import Leaders

OBJECTIVES = {"val_accuracy": "maximize", "remaining": "minimize"}
GRID = st.integers(0, 5).map(lambda n: n / 5)


def row(trial: int, accuracy: float, remaining: float, loss: float) -> dict[str, Any]:
    metrics = {"val_accuracy": accuracy, "remaining": remaining, "val_loss": loss}
    return {"trial": trial, "attempt": 1, "state": "finished", **metrics}


@given(st.lists(st.tuples(GRID, GRID, GRID), max_size=40), st.booleans())
def test_the_leaders_are_worth_as_much_as_all_trials(points: list[tuple[float, float, float]], three: bool) -> None:
    objectives = OBJECTIVES | ({"val_loss": "minimize"} if three else {})
    rows = [row(trial, *point) for trial, point in enumerate(points)]
    leaders = Leaders(objectives, rows).rows
    assert len(leaders) <= 216
    for level in (0.0, 0.2, 0.7, 1.0):
        best = [
            max((r["val_accuracy"] for r in some if r["remaining"] <= level), default=None) for some in (rows, leaders)
        ]
        assert best[0] == best[1]
    volumes = [pareto.hypervolume(results.trials_table(some), objectives) for some in (rows, leaders)]
    assert volumes[0] == pytest.approx(volumes[1])


def test_a_trial_without_a_finite_metric_leads_nothing() -> None:
    leaders = Leaders(OBJECTIVES, [row(0, math.nan, 0.5, 1.0)])
    assert leaders.rows == ()
    leaders.add(row(1, 0.5, 0.5, 1.0))
    leaders.add(row(2, 0.6, 0.5, 1.0))
    assert [kept["trial"] for kept in leaders.rows] == [2]
