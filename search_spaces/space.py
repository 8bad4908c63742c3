"""A search space: what is fixed, what varies, what is better, and how long to look."""

import graphlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces.errors import SpaceError
from supermask.config import RULES, TrainConfig

Value = int | float | str
Distribution = FloatDistribution | IntDistribution | CategoricalDistribution


class Suggests(Protocol):
    """Draws values by name, as an Optuna trial does."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Draws a number."""
        ...

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """Draws a whole number."""
        ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Draws one of the choices."""
        ...


@dataclass(frozen=True)
class Parameter:
    """One searched field.

    Attributes:
        distribution: Where its values come from.
        when: Other searched fields and the values they must have for this one to exist; all must hold.
        points: How many values of a range a grid takes; None is `designs.POINTS`.
    """

    distribution: Distribution
    when: dict[str, Value] = field(default_factory=dict)
    points: int | None = None

    def exists(self, values: Mapping[str, Value]) -> bool:
        """Whether its condition holds, given the fields before it."""
        return all(is_wanted(values.get(parent), wanted) for parent, wanted in self.when.items())

    @property
    def extremes(self) -> tuple[Value, ...]:
        """All choices, or both ends of a range."""
        if isinstance(self.distribution, CategoricalDistribution):
            return tuple(self.distribution.choices)  # pyright: ignore[reportReturnType] - no None or bool in a space
        return (self.distribution.low, self.distribution.high)


@dataclass(frozen=True)
class Constraint:
    """A bound that a trial's metric should keep.

    Attributes:
        metric: A name out of `vocabulary.METRICS`.
        operator: `>=` or `<=`.
        bound: The number on the right.
    """

    metric: str
    operator: str
    bound: float

    def __str__(self) -> str:
        return f"{self.metric} {self.operator} {self.bound!r}"

    def violation(self, value: float) -> float:
        """How far a value misses the bound; zero or less when it keeps it."""
        return self.bound - value if self.operator == ">=" else value - self.bound


@dataclass(frozen=True)
class Sampler:
    """How trials are proposed.

    Attributes:
        name: `tpe`, `random`, `nsga2`, `gp`, `grid` or `qmc`.
        seed: Seed of the proposals: the same one proposes the same first trials.
    """

    name: str = "tpe"
    seed: int = 0


@dataclass(frozen=True)
class Stopping:
    """Successive halving of trials while they train.

    Attributes:
        eta: One in `eta` trials passes each rung, >= 2.
        grace_epochs: No trial is stopped before this many epochs, >= 1.
    """

    eta: int
    grace_epochs: int


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """What a sweep may try.

    Attributes:
        name: Name of the space, and of a sweep that gives none: letters, digits, `.`, `_`, `-`.
        fixed: Fields with one value for all trials.
        parameters: Searched fields; brought into an order in which each follows those its condition names.
        objectives: Metric to `maximize` or `minimize`, in the order of the objectives.
        scales: `log` or `linear` of objectives whose scale is not the usual one: `log` of `remaining`, else `linear`.
        constraints: Bounds that wanted trials keep.
        trials: How many trials to run.
        sampler: How trials are proposed.
        stopping: Early stopping of trials, or None.

    Raises:
        SpaceError: When conditions form a circle.
    """

    name: str
    fixed: dict[str, Value]
    parameters: dict[str, Parameter]
    objectives: dict[str, str]
    trials: int
    constraints: tuple[Constraint, ...] = ()
    sampler: Sampler = Sampler()
    stopping: Stopping | None = None
    scales: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Orders the parameters."""
        # The fields' own order, not the file's, so that moving lines in a file does not change what is drawn.
        graph = {name: sorted(self.parameters[name].when, key=_place) for name in sorted(self.parameters, key=_place)}
        circle = find_circle(graph)
        if circle:
            raise SpaceError([f"SearchSpace.parameters: {CIRCLE_RULE}, but got {circle}. {CIRCLE_REMEDY}"])
        order = [name for name in graphlib.TopologicalSorter(graph).static_order() if name in self.parameters]
        object.__setattr__(self, "parameters", {name: self.parameters[name] for name in order})

    @property
    def most_epochs(self) -> int:
        """Epochs of a trial, at most."""
        searched = self.parameters.get("epochs")
        return int(max(map(int, searched.extremes)) if searched else self.fixed.get("epochs", TrainConfig.epochs))

    def suggest(self, trial: Suggests) -> dict[str, Any]:
        """Draws one configuration.

        Args:
            trial: An Optuna trial, or anything that draws as one does.

        Returns:
            The fixed and the drawn values by field name. A parameter whose condition does not hold is absent.
        """
        values: dict[str, Any] = dict(self.fixed)
        for name, parameter in self.parameters.items():
            if parameter.exists(values):
                values[name] = _draw(trial, name, parameter.distribution)
        return values

    def to_yaml(self) -> str:
        """The space as a document that `load.load` reads back into an equal space."""
        document: dict[str, Any] = {
            "name": self.name,
            "fixed": dict(self.fixed),
            "search": {name: _parameter_entry(parameter) for name, parameter in self.parameters.items()},
            "objectives": {
                name: {"direction": direction, "scale": self.scales[name]} if name in self.scales else direction
                for name, direction in self.objectives.items()
            },
            "constraints": [str(constraint) for constraint in self.constraints],
            "budget": {"trials": self.trials},
            "sampler": {"name": self.sampler.name, "seed": self.sampler.seed},
        }
        if self.stopping is not None:
            document["stopping"] = {"eta": self.stopping.eta, "grace_epochs": self.stopping.grace_epochs}
        return yaml.safe_dump(document, sort_keys=False, width=120)


def is_wanted(value: Value | None, wanted: Value) -> bool:
    """Whether a field has the value of a condition; steps of a float are added up, and so are not exact."""
    if isinstance(value, float) and isinstance(wanted, int | float):
        return math.isclose(value, wanted, rel_tol=1e-9)
    return value == wanted


CIRCLE_RULE = "conditions must not form a circle"
CIRCLE_REMEDY = "Remove one of these `when`."


def find_circle(conditions: Mapping[str, Collection[str]]) -> str:
    """Looks for parameters that wait for each other.

    Args:
        conditions: Parameter names to the names in their conditions.

    Returns:
        One circle in words, e.g. `a -> b -> a`; empty when there is none.
    """
    try:
        graphlib.TopologicalSorter(conditions).prepare()
    except graphlib.CycleError as error:
        return " -> ".join(reversed(error.args[1]))
    return ""


def _place(name: str) -> tuple[int, str]:
    names = list(RULES)
    return (names.index(name) if name in RULES else len(names), name)


def _draw(trial: Suggests, name: str, distribution: Distribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    low, high, log = distribution.low, distribution.high, distribution.log
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(name, int(low), int(high), step=distribution.step, log=log)
    return trial.suggest_float(name, low, high, step=distribution.step, log=log)


def _parameter_entry(parameter: Parameter) -> dict[str, Any]:
    distribution, when = parameter.distribution, dict(parameter.when) or None
    if isinstance(distribution, CategoricalDistribution):
        return _given(choices=list(distribution.choices), when=when)
    step = None if isinstance(distribution, IntDistribution) and distribution.step == 1 else distribution.step
    ends = {"low": distribution.low, "high": distribution.high}
    return _given(**ends, log=distribution.log or None, step=step, points=parameter.points, when=when)


def _given(**entries: Any) -> dict[str, Any]:
    return {key: value for key, value in entries.items() if value is not None}
