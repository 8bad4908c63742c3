import json
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces.designs import filled, grid_size
from search_spaces.errors import SpaceError
from search_spaces.load import load
from search_spaces.space import Constraint, Distribution, Parameter, Sampler, SearchSpace, Stopping
from search_spaces.vocabulary import DIRECTIONS, FRACTIONS, METRICS, SAMPLERS
from supermask.config import OWNERS, RULES, TrainConfig

EVERY_KIND = SearchSpace(
    name="every_kind",
    fixed={"epochs": 3},
    parameters={
        "weight_gain": Parameter(CategoricalDistribution([0.5, 1.0]), {"mask_rule": "target"}),
        "mask_rule": Parameter(CategoricalDistribution(["threshold", "target"])),
        "pruning_rate": Parameter(FloatDistribution(0.1, 0.7, step=0.2)),
        "learning_rate": Parameter(FloatDistribution(0.001, 10.0, log=True)),
        "momentum": Parameter(FloatDistribution(0.0, 0.9)),
        "batch_size": Parameter(IntDistribution(32, 128, step=32)),
        "seed": Parameter(IntDistribution(0, 5)),
        "data_seed": Parameter(IntDistribution(1, 8, log=True), {"batch_size": 64}),
    },
    objectives={"val_accuracy": "maximize"},
    trials=4,
)


class Lowest:
    """Draws the lowest or first value of everything and remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def suggest_float(self, name: str, low: float, high: float, **_options: Any) -> float:
        return self._note(name, low, high)

    def suggest_int(self, name: str, low: int, high: int, **_options: Any) -> int:
        return self._note(name, low, high)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._note(name, choices[0], choices[-1])

    def _note(self, name: str, low: Any, high: Any) -> Any:
        assert high is not None
        self.asked.append(name)
        return low


def samples(space: SearchSpace, count: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for _ in range(count):
        yield space.suggest(study.ask())


def test_parents_are_drawn_first_and_unmet_conditions_leave_parameters_out() -> None:
    drawn = Lowest()

    values = EVERY_KIND.suggest(drawn)

    assert drawn.asked == ["mask_rule", "pruning_rate", "learning_rate", "momentum", "batch_size", "seed"]
    assert values == {
        "epochs": 3,
        "mask_rule": "threshold",
        "pruning_rate": 0.1,
        "learning_rate": 0.001,
        "momentum": 0.0,
        "batch_size": 32,
        "seed": 0,
    }


def test_a_parameter_of_an_absent_parameter_is_absent() -> None:
    space = SearchSpace(
        name="chain",
        fixed={},
        parameters={
            "score_gain": Parameter(CategoricalDistribution([3.0]), {"weight_gain": 2.0}),
            "weight_gain": Parameter(CategoricalDistribution([2.0]), {"mask_rule": "target"}),
            "mask_rule": Parameter(CategoricalDistribution(["threshold", "target"])),
        },
        objectives={"remaining": "minimize"},
        trials=1,
    )

    found = {tuple(sorted(values)) for values in samples(space, 30)}

    assert found == {("mask_rule",), ("mask_rule", "score_gain", "weight_gain")}


def test_every_end_and_every_choice_is_drawn() -> None:
    seen: dict[str, set[Any]] = {name: set() for name in EVERY_KIND.parameters}
    for values in samples(EVERY_KIND, 1500):
        TrainConfig.from_dict(values)
        assert ("weight_gain" in values) == (values["mask_rule"] == "target")
        assert ("data_seed" in values) == (values["batch_size"] == 64)
        for name in seen.keys() & values.keys():
            seen[name].add(values[name])

    assert seen["mask_rule"] == {"threshold", "target"}
    assert seen["weight_gain"] == {0.5, 1.0}
    assert {round(value, 9) for value in seen["pruning_rate"]} == {0.1, 0.3, 0.5, 0.7}
    assert seen["batch_size"] == {32, 64, 96, 128}
    assert seen["seed"] == {0, 1, 2, 3, 4, 5}
    assert seen["data_seed"] == {1, 2, 3, 4, 5, 6, 7, 8}
    assert 0.0 <= min(seen["momentum"]) <= 0.009
    assert 0.891 <= max(seen["momentum"]) <= 0.9
    # 1 % of four decades is a factor of 10 ** 0.04.
    assert 0.001 <= min(seen["learning_rate"]) <= 0.001 * 10**0.04
    assert 10.0 / 10**0.04 <= max(seen["learning_rate"]) <= 10.0


def test_the_order_of_a_file_does_not_change_what_is_drawn() -> None:
    entries = list(EVERY_KIND.parameters.items())
    random.Random(1).shuffle(entries)
    shuffled = SearchSpace(name="s", fixed={"epochs": 3}, parameters=dict(entries), objectives={}, trials=1)

    assert list(samples(shuffled, 20)) == list(samples(EVERY_KIND, 20))


def test_the_same_seed_draws_the_same_in_a_fresh_process(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(EVERY_KIND.to_yaml())
    program = (
        "import json, sys, optuna\n"
        "from search_spaces.load import load\n"
        "space = load(sys.argv[1])\n"
        "study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=7))\n"
        "print(json.dumps([space.suggest(study.ask()) for _ in range(20)]))\n"
    )
    here = json.loads(json.dumps(list(samples(load(path), 20, seed=7))))
    for hash_seed in ["1", "2"]:
        result = subprocess.run(
            [sys.executable, "-c", program, str(path)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(result.stdout) == here


def test_loading_imports_nothing_heavy() -> None:
    program = (
        "import sys, search_spaces.load\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}"
        " & {'torch', 'ray', 'mlflow', 'pyarrow', 'pandas', 'scipy', 'sqlalchemy', 'torchvision', 'sweeps'}))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )

    assert result.stdout.strip() == "[]"


def test_a_circle_of_conditions_is_refused() -> None:
    one = CategoricalDistribution([1.0])

    with pytest.raises(SpaceError) as caught:
        SearchSpace(
            name="circle",
            fixed={},
            parameters={"width": Parameter(one, {"momentum": 1.0}), "momentum": Parameter(one, {"width": 1.0})},
            objectives={},
            trials=1,
        )

    assert caught.value.faults == [
        "SearchSpace.parameters: conditions must not form a circle, but got width -> momentum -> width. "
        "Remove one of these `when`."
    ]


def test_errors_and_spaces_cross_a_process_boundary() -> None:
    error = pickle.loads(pickle.dumps(SpaceError(["a", "b"])))  # noqa: S301 - our own bytes

    assert (error.faults, str(error)) == (["a", "b"], "a\nb")
    assert pickle.loads(pickle.dumps(EVERY_KIND)) == EVERY_KIND  # noqa: S301 - our own bytes


def test_the_written_space() -> None:
    space = SearchSpace(
        name="written",
        fixed={"network": "fcn"},
        parameters={
            "learning_rate": Parameter(FloatDistribution(1e-5, 1.0, log=True), {"mask_rule": "target"}),
            "mask_rule": Parameter(CategoricalDistribution(["threshold", "target"])),
            "batch_size": Parameter(IntDistribution(32, 64, step=32)),
        },
        objectives={"remaining": "minimize"},
        constraints=(Constraint("val_accuracy", ">=", 0.9),),
        trials=3,
        sampler=Sampler("gp", 1),
        stopping=Stopping(3, 5),
    )

    assert space.to_yaml() == (
        "name: written\n"
        "fixed:\n"
        "  network: fcn\n"
        "search:\n"
        "  mask_rule:\n"
        "    choices:\n"
        "    - threshold\n"
        "    - target\n"
        "  batch_size:\n"
        "    low: 32\n"
        "    high: 64\n"
        "    step: 32\n"
        "  learning_rate:\n"
        "    low: 1.0e-05\n"
        "    high: 1.0\n"
        "    log: true\n"
        "    when:\n"
        "      mask_rule: target\n"
        "objectives:\n"
        "  remaining: minimize\n"
        "constraints:\n"
        "- val_accuracy >= 0.9\n"
        "budget:\n"
        "  trials: 3\n"
        "sampler:\n"
        "  name: gp\n"
        "  seed: 1\n"
        "stopping:\n"
        "  eta: 3\n"
        "  grace_epochs: 5\n"
    )


@st.composite
def values(draw: st.DrawFn, name: str) -> Any:
    """Any legal value of a field that a training run could be given."""
    rule = RULES[name]
    if rule.kind is str:
        return draw(st.sampled_from(rule.choices) if rule.choices else st.text(min_size=1, max_size=10))
    if rule.kind is int:
        return draw(st.integers(int(rule.low), min(int(rule.high), 2**53)))
    bounds: dict[str, Any] = {"exclude_min": rule.open_low, "exclude_max": rule.open_high}
    return draw(st.floats(rule.low, min(rule.high, 1e9), **bounds))


@st.composite
def distributions(draw: st.DrawFn, name: str) -> Distribution:
    """Any legal choices or range of a field."""
    kind = RULES[name].kind
    if kind is str or draw(st.booleans()):
        return CategoricalDistribution(draw(st.lists(values(name), min_size=1, max_size=4, unique=True)))
    low, high = sorted([draw(values(name)), draw(values(name))])
    log = low > 0 and draw(st.booleans())
    return IntDistribution(low, high, log=log) if kind is int else FloatDistribution(low, high, log=log)


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    """Any space whose conditions hang on earlier fields with choices."""
    names = draw(st.lists(st.sampled_from(list(RULES)), min_size=1, max_size=8, unique=True))
    # Without the fields that have a meaning only with some values of another one, but for the usual case.
    owned = {name for name, (owner, _) in OWNERS.items() if owner in names or name.startswith(("plateau", "stem"))}
    names = [name for name in names if name not in owned] or ["learning_rate"]
    split = draw(st.integers(0, len(names) - 1))
    parameters: dict[str, Parameter] = {}
    for name in names[split:]:
        when: dict[str, Any] = {}
        for parent, parameter in parameters.items():
            # Parents without a condition of their own, so that no two conditions can exclude each other.
            if (
                isinstance(parameter.distribution, CategoricalDistribution)
                and not parameter.when
                and draw(st.booleans())
            ):
                when[parent] = draw(st.sampled_from(parameter.distribution.choices))
        found = draw(distributions(name))
        points = None if isinstance(found, CategoricalDistribution) else draw(st.none() | st.integers(1, 9))
        parameters[name] = Parameter(found, when, points)
    metrics = draw(st.lists(st.sampled_from(METRICS), min_size=1, max_size=3, unique=True))
    constraints = [
        Constraint(metric, draw(st.sampled_from([">=", "<="])), draw(st.floats(0, 1 if metric in FRACTIONS else 1e9)))
        for metric in metrics
    ]
    space = SearchSpace(
        name=draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True)),
        fixed={name: draw(values(name)) for name in names[:split]},
        parameters=parameters,
        objectives={metric: draw(st.sampled_from(DIRECTIONS)) for metric in metrics},
        constraints=tuple(constraints),
        trials=draw(st.integers(1, 1000)),
        sampler=Sampler(draw(st.sampled_from(SAMPLERS)), draw(st.integers(0, 2**32 - 1))),
        stopping=draw(st.none() | st.builds(Stopping, eta=st.integers(2, 9), grace_epochs=st.integers(1, 99))),
    )
    found = filled(space)
    return replace(found, trials=min(found.trials, grid_size(found) or found.trials))


@settings(max_examples=100)
@given(space=spaces())
def test_every_legal_space_is_read_back_and_draws_legal_configurations(
    space: SearchSpace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "legal.yaml"
    path.write_text(space.to_yaml(), encoding="utf-8")

    read = load(path)

    assert read == space
    assert list(read.parameters) == list(space.parameters)
    assert list(read.objectives) == list(space.objectives)
    for drawn in samples(read, 5):
        TrainConfig.from_dict(drawn)
