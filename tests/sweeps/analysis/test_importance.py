import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces.space import Parameter, SearchSpace
from sweeps.analysis.importance import importance
from tests.sweeps.conftest import network_table

Space = Callable[..., SearchSpace]
EndedRow = Callable[..., dict[str, Any]]


@pytest.fixture
def rows(ended_row: EndedRow) -> list[dict[str, Any]]:
    """Accuracy depends on the learning rate alone, what remains on the pruning rate alone."""
    generator = np.random.default_rng(0)
    found = []
    for trial in range(60):
        pruning, learning = generator.uniform(0.05, 0.95), math.exp(generator.uniform(math.log(0.005), 0))
        metrics = {"estimate": 1 - abs(math.log10(learning) + 1) / 4, "remaining": 1 - pruning}
        found.append(ended_row(trial, pruning_rate=pruning, learning_rate=learning, **metrics))
    return found


def shares(rows: list[dict[str, Any]], space: SearchSpace) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for row in importance(network_table(rows), space).to_pylist():
        found.setdefault(row["target"], {})[row["parameter"]] = row["importance"]
    return found


def test_what_decides_a_metric_is_important_for_it(rows: list[dict[str, Any]], small_space: Space) -> None:
    found = shares(rows, small_space())
    assert list(found) == ["val_accuracy", "remaining", "hypervolume"]
    assert list(found["val_accuracy"]) == ["learning_rate", "pruning_rate"]  # the most important first
    assert found["val_accuracy"]["learning_rate"] > 0.75
    assert found["remaining"]["pruning_rate"] > 0.75
    assert all(share > 0.05 for share in found["hypervolume"].values())
    assert all(math.fsum(target.values()) == pytest.approx(1) for target in found.values())


def test_maximizing_looks_at_the_other_end(rows: list[dict[str, Any]], small_space: Space) -> None:
    # The half of the learning rates that is bad is spread over both ends, so another share comes out.
    turned = {"val_accuracy": "minimize", "remaining": "minimize"}
    one, other = shares(rows, small_space()), shares(rows, small_space(objectives=turned))
    assert one["val_accuracy"] != other["val_accuracy"]
    assert one["remaining"] == other["remaining"]


def test_only_networks_with_finite_metrics_count(
    rows: list[dict[str, Any]], small_space: Space, ended_row: EndedRow
) -> None:
    others = [ended_row(102, val_accuracy=math.nan), ended_row(103, remaining=None)]
    assert shares([*rows, *others], small_space()) == shares(rows, small_space())
    # How its trial ended does not count.
    assert shares([row | {"state": "stopped"} for row in rows], small_space()) == shares(rows, small_space())
    assert shares(rows[:49], small_space()) == {}
    assert shares(rows[:50], small_space()) != {}


def test_what_does_not_vary_has_no_rows(rows: list[dict[str, Any]], small_space: Space) -> None:
    assert list(shares([row | {"remaining": 0.5} for row in rows], small_space())) == ["val_accuracy", "hypervolume"]
    assert shares([row | {"remaining": 0.5, "estimate": 0.9} for row in rows], small_space()) == {}
    table = importance(network_table([]), small_space())
    assert (table.num_rows, table.column_names) == (0, ["target", "parameter", "importance"])


def test_one_objective_has_no_hypervolume_of_its_own(rows: list[dict[str, Any]], small_space: Space) -> None:
    assert list(shares(rows, small_space(objectives={"val_accuracy": "maximize"}))) == ["val_accuracy"]


def test_parameters_of_every_kind(rows: list[dict[str, Any]], small_space: Space) -> None:
    space = small_space()
    parameters = space.parameters | {
        "schedule": Parameter(CategoricalDistribution(["exponential", "constant"])),
        "decay_epochs": Parameter(FloatDistribution(1, 20), when={"schedule": "exponential"}),
        "batch_size": Parameter(IntDistribution(16, 128, step=16)),
        "momentum": Parameter(FloatDistribution(0.9, 0.9)),
        "weight_gain": Parameter(FloatDistribution(0.6, 1.0)),  # the space was changed since
    }
    for trial, row in enumerate(rows):
        decays = trial % 2 == 0
        row |= {"schedule": "exponential" if decays else "constant", "batch_size": 16 * (1 + trial % 8)}
        # A good accuracy needs a schedule that decays, slowly.
        row |= {"decay_epochs": 1.0 + trial % 20 if decays else 10.0, "weight_gain": 0.5 + trial % 7 / 10}
        row["estimate"] = 0.5 + row["decay_epochs"] / 50 if decays else 0.4
    found = shares(rows, small_space(parameters=parameters))["val_accuracy"]
    assert set(found) == set(parameters)
    assert found["momentum"] == 0
    assert found["decay_epochs"] + found["schedule"] > 0.8


def test_a_large_sweep_gives_the_same_every_time(
    rows: list[dict[str, Any]], small_space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = shares(rows, small_space())
    monkeypatch.setattr("sweeps.analysis.importance.MOST_TRIALS", 50)
    part = shares(rows, small_space())
    assert part == shares(rows, small_space()) != whole
    assert part["val_accuracy"]["learning_rate"] > 0.6


def test_analysis_loads_without_ray_mlflow_torch_scipy_and_matplotlib() -> None:
    code = (
        "import sys; from sweeps.analysis import comparison, effects, importance, recommendation; "
        "print([name for name in ('ray', 'mlflow', 'torch', 'scipy', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
