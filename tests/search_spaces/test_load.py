"""Documents that are read, faults that come together, and documents nobody would write."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces import vocabulary
from search_spaces.errors import SpaceError
from search_spaces.load import load
from search_spaces.space import Constraint, Parameter, Sampler, SearchSpace, Stopping
from supermask.config import RULES

HEAD = "name: good\nbudget: {trials: 4}\n"
SEARCH = "search: {learning_rate: {low: 0.01, high: 1.0}}\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def faults_of(path: Path, **overrides: Any) -> list[str]:
    with pytest.raises(SpaceError) as caught:
        load(path, **overrides)
    assert str(caught.value) == "\n".join(caught.value.faults)
    return [fault.removeprefix(f"{path}: ") for fault in caught.value.faults]


def test_a_full_document(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
name: full-1.0_x
fixed: {network: conv2, momentum: 0, epochs: 7}
search:
  mask_rule: [threshold, target]
  pruning_rate: {low: 0.1, high: 0.7, step: 0.2}
  learning_rate: {low: 0.01, high: 1, log: true}
  weight_decay: {low: 1.0e-5, high: 1.0e-3, log: true, when: {mask_rule: threshold}}
  batch_size: {low: 32, high: 128, step: 32}
  seed: {low: 0, high: 9}
  gain_rule: {choices: [fixed, elus], when: {mask_rule: target}}
  weight_gain: {choices: [1, 2], when: {gain_rule: fixed, batch_size: 64}}
objectives: {val_loss: minimize, remaining: minimize}
constraints: [val_accuracy >= 0.9, "remaining<=5e-2"]
budget: {trials: 12}
sampler: {name: nsga2, seed: 3}
stopping: {eta: 3, grace_epochs: 2}
""",
    )

    assert load(path) == SearchSpace(
        name="full-1.0_x",
        fixed={"network": "conv2", "momentum": 0.0, "epochs": 7},
        parameters={
            "mask_rule": Parameter(CategoricalDistribution(["threshold", "target"])),
            "pruning_rate": Parameter(FloatDistribution(0.1, 0.7, step=0.2)),
            "learning_rate": Parameter(FloatDistribution(0.01, 1.0, log=True)),
            "weight_decay": Parameter(FloatDistribution(1e-5, 1e-3, log=True), {"mask_rule": "threshold"}),
            "batch_size": Parameter(IntDistribution(32, 128, step=32)),
            "seed": Parameter(IntDistribution(0, 9)),
            "gain_rule": Parameter(CategoricalDistribution(["fixed", "elus"]), {"mask_rule": "target"}),
            "weight_gain": Parameter(CategoricalDistribution([1.0, 2.0]), {"gain_rule": "fixed", "batch_size": 64}),
        },
        objectives={"val_loss": "minimize", "remaining": "minimize"},
        constraints=(Constraint("val_accuracy", ">=", 0.9), Constraint("remaining", "<=", 0.05)),
        trials=12,
        sampler=Sampler("nsga2", 3),
        stopping=Stopping(3, 2),
    )


def test_what_is_not_given_has_a_default(tmp_path: Path) -> None:
    space = load(write(tmp_path, HEAD + SEARCH + "stopping:\n"))

    assert space.objectives == {"val_accuracy": "maximize", "remaining": "minimize"}
    assert list(space.objectives) == ["val_accuracy", "remaining"]
    assert (space.fixed, space.constraints, space.sampler, space.stopping) == ({}, (), Sampler("tpe", 0), None)


def test_values_take_the_kind_of_their_field(tmp_path: Path) -> None:
    space = load(write(tmp_path, HEAD + "fixed: {width: 2}\nsearch: {momentum: {low: 0, high: 0}, score_gain: [1, 2]}"))

    choices = space.parameters["score_gain"].distribution
    assert isinstance(space.fixed["width"], float)
    assert isinstance(space.parameters["momentum"].distribution, FloatDistribution)
    assert isinstance(choices, CategoricalDistribution)
    assert [type(choice) for choice in choices.choices] == [float, float]


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
name: ../x
fixed: {network: fnc}
search:
  learning_rate: {low: 3e-4, high: -1}
  width: {low: 2, high: 1}
objectives: {}
constraints: [val_accuracy]
budget: {trials: none}
sampler: {name: tpo}
stopping: {eta: 1, grace_epochs: 0}
extra: 1
""",
    )

    faults = faults_of(path)

    places = [fault.split(":")[0] for fault in faults]
    assert sorted(places) == [
        "budget.trials",
        "constraints.0",
        "extra",
        "fixed.network",
        "name",
        "objectives",
        "sampler.name",
        "search.learning_rate.high",
        "search.learning_rate.low",
        "search.width",
        "stopping.eta",
        "stopping.grace_epochs",
    ]


def test_every_sampler_metric_and_field_is_accepted(tmp_path: Path) -> None:
    for name in vocabulary.SAMPLERS:
        assert load(write(tmp_path, f"{HEAD}{SEARCH}sampler: {{name: {name}}}")).sampler.name == name
    for metric in vocabulary.METRICS:
        space = load(
            write(tmp_path, f"{HEAD}{SEARCH}objectives: {{{metric}: minimize}}\nconstraints: [{metric} <= 0.5]")
        )
        assert (space.objectives, space.constraints) == ({metric: "minimize"}, (Constraint(metric, "<=", 0.5),))


def test_an_objective_may_say_its_scale(tmp_path: Path) -> None:
    text = "objectives: {val_accuracy: maximize, remaining: {direction: minimize, scale: linear}}"
    space = load(write(tmp_path, f"{HEAD}{SEARCH}{text}"))
    assert space.objectives == {"val_accuracy": "maximize", "remaining": "minimize"}
    assert space.scales == {"remaining": "linear"}
    assert load(write(tmp_path, space.to_yaml())) == space
    usual = load(write(tmp_path, f"{HEAD}{SEARCH}{text.replace('linear', 'log')}"))
    assert usual.scales == {}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{direction: up}", ("objectives.remaining.direction: must be maximize or minimize", "'up'")),
        ("{direction: minimize, scale: lin}", ("objectives.remaining.scale: must be log or linear", "'lin'", "linear")),
        ("{scale: log}", ("objectives.remaining.direction: must be given", "direction: minimize")),
        ("{direction: minimize, base: 2}", ("objectives.remaining.base: must be a known key", "'base'")),
        ("[minimize]", ("objectives.remaining: must be maximize or minimize",)),
    ],
)
def test_what_an_objective_cannot_be_is_named(tmp_path: Path, entry: str, said: tuple[str, ...]) -> None:
    (fault,) = faults_of(write(tmp_path, f"{HEAD}{SEARCH}objectives: {{remaining: {entry}}}"))
    assert all(part in fault for part in said)


def test_accuracy_counts_as_it_is(tmp_path: Path) -> None:
    entry = "objectives: {val_accuracy: {direction: maximize, scale: log}}"
    (fault,) = faults_of(write(tmp_path, f"{HEAD}{SEARCH}{entry}"))
    assert fault.startswith("objectives.val_accuracy.scale: must be linear for this metric, but got 'log'")


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.dates()
    | st.sampled_from(["3e-4", "elu", "target", "val_accuracy >= 0.9", "maximize", "tpe", 10**400, -(10**400)])
)
KEYS = (
    st.sampled_from([*RULES, *vocabulary.METRICS])
    | st.sampled_from(["low", "high", "log", "step", "when", "choices", "trials", "epochs", "name", "seed", "eta"])
    | st.text(max_size=5)
    | st.integers()
    | st.none()
)
NESTED = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
RANGES = st.fixed_dictionaries(
    {"low": SCALARS, "high": SCALARS},
    optional={"log": st.booleans(), "step": SCALARS, "when": st.dictionaries(KEYS, SCALARS, max_size=3)},
)
DOCUMENTS = st.fixed_dictionaries(
    {"name": st.just("n") | NESTED, "search": st.dictionaries(KEYS, RANGES | NESTED, max_size=5) | NESTED},
    optional={
        key: st.dictionaries(KEYS, NESTED, max_size=4) | NESTED
        for key in ["fixed", "objectives", "constraints", "budget", "sampler", "stopping"]
    },
)


@settings(max_examples=300)
@given(content=DOCUMENTS | NESTED, overrides=st.dictionaries(st.sampled_from(["fixed.epochs", "search.width"]), NESTED))
@example(content={"name": "n", "search": {"seed": {"low": 0, "high": 1, "step": 10**4000}}}, overrides={})
@example(content={"name": "n", "search": {"width": [1, 2]}, "budget": {"trials": 1}}, overrides={"\ud800": 1})
def test_any_data_is_a_space_or_a_space_error(
    content: Any, overrides: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    try:
        space = load(path, overrides=overrides)
    except SpaceError as error:
        faults = error.faults
    else:
        path.write_text(space.to_yaml(), encoding="utf-8")
        assert load(path) == space
        return
    assert faults
    assert all("\n" not in fault and " but got " in fault for fault in faults)
    "\n".join(faults).encode("utf-8")


@settings(max_examples=300)
@given(text=st.text(alphabet="ab01:,-{}[]&*!|>%@`'\"#?<=\n \t\r\x00\u2028\ufeff.eE+~_", max_size=60))
@example(text="a: &a [*a]")
@example(text="&a {? *a : 1}")
@example(text="a: 2024-13-45")
@example(text="a: 0x_")
@example(text="=: =")
@example(text="? [1, 2]\n: 3")
@example(text='"\\uD800": "\\uD800"')
@example(text="a: 1\n<<: 3")
@example(text="name: '" + "1" * 5000 + "'\nsearch: " + "1" * 5000)
def test_any_text_is_a_space_or_a_space_error(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(text.encode("utf-8"))
    with pytest.raises(SpaceError) as caught:
        load(path)
    assert all("\n" not in fault for fault in caught.value.faults)
    str(caught.value).encode("utf-8")
