"""What a sampler learns from another sweep, and that nobody else hears of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces.space import Constraint, Parameter, Sampler, SearchSpace
from sweeps.errors import SweepError
from sweeps.search import warm_start
from sweeps.search.study import SweepStudy
from sweeps.store.paths import SweepPaths

Row = dict[str, Any]
EndedRow = Callable[..., Row]
LOG = FloatDistribution(0.005, 1.0, log=True)


@pytest.fixture
def space(small_space: Callable[..., SearchSpace]) -> SearchSpace:
    return small_space(name="new", sampler=Sampler("tpe", 0))


def lying(space: SearchSpace, ended_row: EndedRow, trial: int, **changes: Any) -> Row:
    """A finished trial that lies in the space, but for the changes."""
    return ended_row(
        trial, **{**space.fixed, "pruning_rate": 0.4, "learning_rate": 0.1, "seed": 1000 + trial} | changes
    )


def test_trials_that_lie_in_the_space_are_taken_and_of_the_others_it_is_said_why(
    tmp_path: Path, space: SearchSpace, ended_row: EndedRow, write_sweep: Callable[..., SweepPaths]
) -> None:
    rows = [lying(space, ended_row, trial) for trial in range(3)]
    rows += [lying(space, ended_row, 3, learning_rate=2.0), lying(space, ended_row, 4, epochs=7, epochs_done=7)]
    rows += [lying(space, ended_row, 5, weight_decay=0.01), lying(space, ended_row, 6, pruning_rate=0.99)]
    rows += [lying(space, ended_row, 7, pruning_rate=0.01), lying(space, ended_row, 8, val_accuracy=float("nan"))]
    rows += [ended_row(9, "failed"), ended_row(10, "stopped")]
    write_sweep(tmp_path, rows, name="other")
    found = warm_start.collect(tmp_path, "other", space)
    assert [(one.trial, one.params) for one in found.trials] == [
        (trial, {"pruning_rate": 0.4, "learning_rate": 0.1}) for trial in range(3)
    ]
    assert found.trials[1].metrics == {"val_accuracy": rows[1]["val_accuracy"], "remaining": rows[1]["remaining"]}
    assert str(found) == (
        "warm start: 3 of 9 finished trials of other; 2 not: pruning_rate lies outside of what is searched; "
        "1 not: learning_rate lies outside of what is searched; 1 not: epochs is 7, not 2; "
        "1 not: weight_decay is 0.01, not 0.0005; 1 not: val_accuracy is no number"
    )
    warm_start.write(tmp_path / "warm_start.json", found)
    assert warm_start.read(tmp_path / "warm_start.json") == found
    assert json.loads((tmp_path / "warm_start.json").read_text())["sweep"] == "other"


@pytest.mark.parametrize(
    ("parameter", "changes", "params"),
    [
        ({"momentum": CategoricalDistribution([0.5, 0.9])}, {"momentum": 0.9}, {"momentum": 0.9}),
        ({"momentum": CategoricalDistribution([0.5, 0.9])}, {"momentum": 0.8}, None),
        ({"momentum": FloatDistribution(0.0, 0.9, step=0.3)}, {"momentum": 0.6}, {"momentum": 0.6}),
        ({"momentum": FloatDistribution(0.0, 0.9, step=0.3)}, {"momentum": 0.7}, None),
        ({"batch_size": IntDistribution(32, 96, step=32)}, {"batch_size": 96}, {"batch_size": 96}),
        ({"batch_size": IntDistribution(32, 96, step=32)}, {"batch_size": 48}, None),
        ({"gain_rule": CategoricalDistribution(["elu", "elus"])}, {"gain_rule": "elus"}, {"gain_rule": "elus"}),
        ({"gain_rule": CategoricalDistribution(["elu", "elus"])}, {"gain_rule": "fixed"}, None),
    ],
)
def test_choices_and_steps(
    tmp_path: Path,
    space: SearchSpace,
    ended_row: EndedRow,
    write_sweep: Callable[..., SweepPaths],
    *,
    parameter: dict[str, Any],
    changes: Row,
    params: Row | None,
) -> None:
    (name,) = parameter
    own = {name: Parameter(distribution) for name, distribution in parameter.items()}
    fixed = {key: value for key, value in space.fixed.items() if key != name}
    write_sweep(tmp_path, [lying(space, ended_row, 0, **changes), lying(space, ended_row, 1, **changes)], name="other")
    new = replace(space, fixed=fixed, parameters=space.parameters | own)
    if params is None:
        with pytest.raises(SweepError, match=f"none does \\(2: {name} lies outside of what is searched\\)"):
            warm_start.collect(tmp_path, "other", new)
        return
    found = warm_start.collect(tmp_path, "other", new).trials
    assert [one.params for one in found] == [{"pruning_rate": 0.4, "learning_rate": 0.1, **params}] * 2


def test_a_parameter_counts_only_where_its_condition_holds(
    tmp_path: Path, space: SearchSpace, ended_row: EndedRow, write_sweep: Callable[..., SweepPaths]
) -> None:
    own = {
        "schedule": Parameter(CategoricalDistribution(["constant", "exponential"])),
        "decay_rate": Parameter(FloatDistribution(0.5, 1.0), when={"schedule": "exponential"}),
    }
    rows = [lying(space, ended_row, 0, schedule="constant"), lying(space, ended_row, 1, decay_rate=0.7)]
    write_sweep(tmp_path, rows, name="other")
    found = warm_start.collect(tmp_path, "other", replace(space, parameters=space.parameters | own)).trials
    assert [sorted(one.params) for one in found] == [
        ["learning_rate", "pruning_rate", "schedule"],
        ["decay_rate", "learning_rate", "pruning_rate", "schedule"],
    ]


def test_the_sampler_looks_where_the_others_were_good_and_the_study_has_its_own_trials_only(
    tmp_path: Path, space: SearchSpace
) -> None:
    space = replace(space, constraints=(Constraint("val_accuracy", ">=", 0.5),))
    random = np.random.default_rng(0)
    earlier = []
    for trial, rate in enumerate(random.uniform(0.05, 0.95, 120)):
        # Good trials have a pruning rate about 0.8.
        metrics = {"val_accuracy": 1 - abs(rate - 0.8), "remaining": abs(rate - 0.8)}
        earlier.append(warm_start.Earlier(trial, {"pruning_rate": rate, "learning_rate": 0.1}, metrics))
    warm, cold = SweepStudy(space, tmp_path / "warm", earlier=earlier), SweepStudy(space, tmp_path / "cold")
    distances = {
        study: np.mean([abs(study.ask().config.pruning_rate - 0.8) for _ in range(8)]) for study in (warm, cold)
    }
    assert distances[warm] < 0.1 < distances[cold]
    assert [trial.number for trial in warm.trials()] == list(range(8))
    assert [trial.number for trial in SweepStudy(space, tmp_path / "warm").trials()] == list(range(8))


@pytest.mark.parametrize("sampler", ["random", "nsga2"])
def test_a_sampler_that_learns_nothing_is_refused(tmp_path: Path, space: SearchSpace, sampler: str) -> None:
    with pytest.raises(SweepError) as raised:
        warm_start.collect(tmp_path, "other", replace(space, sampler=Sampler(sampler)))
    assert raised.value.message == (
        f"--warm-start: the sampler must be tpe or gp to learn from other trials, but it is {sampler}. "
        "Add --set sampler.name=tpe, or leave --warm-start out."
    )


def test_a_sweep_that_is_missing_or_has_nothing_to_teach_is_an_error(
    tmp_path: Path, space: SearchSpace, ended_row: EndedRow, write_sweep: Callable[..., SweepPaths]
) -> None:
    write_sweep(tmp_path, [ended_row(0, "failed")], name="other")
    with pytest.raises(SweepError, match="sweep nothing: must exist under"):
        warm_start.collect(tmp_path, "nothing", space)
    with pytest.raises(SweepError, match=r"but none does \(it has none\)\. Widen the space"):
        warm_start.collect(tmp_path, "other", space)


def test_a_sweep_without_one_and_a_damaged_file(tmp_path: Path) -> None:
    assert warm_start.read(tmp_path / "warm_start.json") is None
    for text in ("{", "{}", '{"sweep": "x", "left_out": {}, "trials": [{"no": 1}]}'):
        (tmp_path / "warm_start.json").write_text(text)
        with pytest.raises(SweepError, match="must hold what the sampler learns from"):
            warm_start.read(tmp_path / "warm_start.json")


def test_the_command_line_says_so_before_anything_starts(
    sweeps: Any, ended_row: EndedRow, write_sweep: Callable[..., SweepPaths]
) -> None:
    write_sweep(sweeps.folder / "sweeps-out", [ended_row(0)])
    before = sweeps.files()
    done = sweeps("run", "fcn_digits", "--warm-start", "small", "--set", "sampler.name=tpe")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("--warm-start small: some finished trial must lie in the new search space")
    assert sweeps.files() == before
