from collections.abc import Callable
from typing import Any

from optuna.distributions import FloatDistribution

from search_spaces.space import Parameter, SearchSpace
from sweeps.analysis.searched import present
from sweeps.results import trials_table


def test_a_condition_on_a_step_of_a_float_holds_as_it_did_when_it_was_drawn(
    small_space: Callable[..., SearchSpace], ended_row: Callable[..., dict[str, Any]]
) -> None:
    space = small_space(
        parameters={
            "momentum": Parameter(FloatDistribution(0.1, 0.7, step=0.2)),
            "learning_rate": Parameter(FloatDistribution(0.01, 1.0), {"momentum": 0.3}),
        }
    )
    drawn = 0.2 + 0.1  # as Optuna adds steps up
    assert drawn != 0.3
    table = trials_table([ended_row(0, momentum=drawn), ended_row(1, momentum=0.5)])
    assert present(table, space, "learning_rate").tolist() == [True, False]
