"""Reads a search space from its YAML file.

Example:
    ```yaml
    name: fcn_mnist
    fixed: {network: fcn, dataset: mnist, epochs: 100}
    search:
      mask_rule: [threshold, target]
      pruning_rate: {low: 0.05, high: 0.95}
      learning_rate: {low: 0.01, high: 1.0, log: true}
      weight_decay: {low: 1.0e-5, high: 1.0e-3, log: true, when: {mask_rule: threshold}}
    objectives: {val_accuracy: maximize, remaining: minimize}
    constraints: ["val_accuracy >= 0.90"]
    budget: {trials: 256}
    sampler: {name: tpe, seed: 0}
    stopping: {eta: 3, grace_epochs: 5}
    ```

    `name`, `search` and `budget.trials` must be given. Without objectives, `val_accuracy` is maximized and
    `remaining` minimized. `remaining` counts in factors of ten: `remaining: {direction: minimize, scale: linear}` has
    it count as it is. The sampler is `tpe` with seed 0; nothing is stopped early.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search_spaces import conditions, designs, document, owners, schema
from search_spaces import overrides as given
from search_spaces.errors import SpaceError
from search_spaces.faults import Faults, nearest, show
from search_spaces.parameters import check_field_value, check_fields, distribution
from search_spaces.space import Constraint, Parameter, Sampler, SearchSpace, Stopping, Value
from search_spaces.vocabulary import DIRECTIONS, FRACTIONS, METRICS, SCALES
from supermask.config import is_finite

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_CONSTRAINT = re.compile(r"\s*(\w+)\s*(>=|<=)\s*(\S+)\s*")
_NOTHING: Mapping[str, Any] = {}


def load(
    path: str | Path, *, overrides: Mapping[str, Any] = _NOTHING, options: Mapping[str, str] = _NOTHING
) -> SearchSpace:
    """Reads and checks a search space.

    Args:
        path: A YAML file.
        overrides: Dotted paths to values, put in place of the file's before it is checked, e.g.
            `{"fixed.epochs": 5, "search.learning_rate.high": 0.5}`. `fixed.X` ends a search of X (and of
            parameters whose conditions can then no longer hold), `search.X` frees a fixed X.
        options: What messages call an override, by its path, where the user did not type `--set`.

    Returns:
        The space, with every value in its field's kind.

    Raises:
        SpaceError: Naming every fault of the file and the overrides.
    """
    faults = Faults(str(path), overrides, options)
    content = document.read(Path(path), faults)
    if content is None:
        raise SpaceError(faults.lines)
    content = given.apply(content, overrides, faults)
    checked = schema.validate(schema.Document, content, "", faults)
    _check_name(content.get("name"), faults)
    fixed = _fixed(content, faults)
    parameters = _parameters(content, fixed, faults)
    owners.check(fixed, parameters, faults)
    objectives, scales = _objectives(content, faults)
    constraints = _constraints(content, faults)
    if faults.lines or checked is None:
        raise SpaceError(faults.lines)
    stopping = checked.stopping
    space = SearchSpace(
        name=checked.name,
        fixed={name: value for name, value in fixed.items() if value is not None},
        parameters=parameters,
        objectives=objectives or checked.objectives,
        constraints=constraints,
        trials=checked.budget.trials,
        sampler=Sampler(name=checked.sampler.name, seed=checked.sampler.seed),
        stopping=None if stopping is None else Stopping(eta=stopping.eta, grace_epochs=stopping.grace_epochs),
        scales=scales,
    )
    space = designs.filled(space)
    size = designs.grid_size(space)
    if size is not None and space.trials > size:
        got = f"{space.trials} of {size}"
        faults.add("budget.trials", designs.BUDGET_RULE, got=got, remedy=designs.BUDGET_REMEDY)
        raise SpaceError(faults.lines)
    return space


def _check_name(name: Any, faults: Faults) -> None:
    if isinstance(name, str) and not _NAME.fullmatch(name):
        rule = "must be at most 100 letters, digits, '.', '_' and '-' and start with a letter or digit"
        faults.add("name", rule, got=show(name), remedy="Choose such a name.")


def _fixed(content: Mapping[str, Any], faults: Faults) -> dict[str, Value | None]:
    entries = _mapping(content, "fixed")
    return {
        name: check_field_value(name, entries[name], f"fixed.{name}", faults)
        for name in check_fields(entries, "fixed", faults)
    }


def _parameters(content: Mapping[str, Any], fixed: Mapping[str, Value | None], faults: Faults) -> dict[str, Parameter]:
    searched = _mapping(content, "search")
    if content.get("search") == {}:
        remedy = "Add e.g. `learning_rate: {low: 0.01, high: 1.0, log: true}`."
        faults.add("search", "at least one field must be searched", got="none", remedy=remedy)
    entries = {name: distribution(name, searched[name], faults) for name in check_fields(searched, "search", faults)}
    for name in entries:
        if name in fixed:
            remedy = "Remove it from one of the two."
            faults.add(f"search.{name}", "a field is fixed or searched", got="it here and in fixed", remedy=remedy)
    left = conditions.resolve(entries, fixed, faults)
    return {
        name: Parameter(found, left[name], searched[name].get("points") if isinstance(searched[name], dict) else None)
        for name, (found, _) in entries.items()
        if found is not None
    }


def _objectives(content: Mapping[str, Any], faults: Faults) -> tuple[dict[str, str], dict[str, str]]:
    """Directions, and the scales that are not the usual ones."""
    if content.get("objectives") == {}:
        remedy = "Add e.g. `val_accuracy: maximize`, or remove the key for the default."
        faults.add("objectives", "at least one objective must be given", got="none", remedy=remedy)
    directions, scales = dict[str, str](), dict[str, str]()
    for metric, entry in _mapping(content, "objectives").items():
        path = f"objectives.{metric}"
        if metric not in METRICS:
            faults.add(path, f"must be one of {', '.join(METRICS)}", got=show(metric), remedy=nearest(metric, METRICS))
        usual, *_ = legal = SCALES.get(metric, ("linear",))
        direction, scale = entry, usual
        if isinstance(entry, dict):
            found = schema.validate(schema.ObjectiveEntry, entry, path, faults)
            direction, scale = (found.direction, found.scale or usual) if found else (DIRECTIONS[0], usual)
        if direction not in DIRECTIONS:
            where = f"{path}.direction" if isinstance(entry, dict) else path
            rule = f"must be {' or '.join(DIRECTIONS)}"
            faults.add(where, rule, got=show(direction), remedy=nearest(direction, DIRECTIONS))
        if scale not in legal:
            rule = f"must be {' or '.join(legal)} for this metric"
            faults.add(f"{path}.scale", rule, got=show(scale), remedy=nearest(scale, legal))
        directions[metric] = direction
        scales |= {} if scale == usual else {metric: scale}
    return directions, scales


def _constraints(content: Mapping[str, Any], faults: Faults) -> tuple[Constraint, ...]:
    entries = content.get("constraints", [])
    if not isinstance(entries, list):
        return ()
    found = [_constraint(entry, f"constraints.{place}", faults) for place, entry in enumerate(entries)]
    return tuple(constraint for constraint in found if constraint is not None)


def _constraint(entry: Any, path: str, faults: Faults) -> Constraint | None:
    match = _CONSTRAINT.fullmatch(entry) if isinstance(entry, str) else None
    bound = None if match is None else _number(match[3])
    if match is None or bound is None:
        remedy = 'Write it like "val_accuracy >= 0.9".'
        faults.add(path, "must read METRIC >= NUMBER or METRIC <= NUMBER", got=show(entry), remedy=remedy)
        return None
    metric = match[1]
    if metric not in METRICS:
        faults.add(path, f"must be on one of {', '.join(METRICS)}", got=show(metric), remedy=nearest(metric, METRICS))
    elif metric in FRACTIONS and not 0 <= bound <= 1:
        remedy = "Write a fraction: 90 % is 0.9."
        faults.add(path, f"0 <= {metric} <= 1 must hold", got=show(bound), remedy=remedy)
    return Constraint(metric, match[2], bound)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if is_finite(number) else None


def _mapping(content: Mapping[str, Any], section: str) -> Mapping[str, Any]:
    """A section's content; empty when it has the wrong shape, which the schema reports."""
    entries = content.get(section)
    return entries if isinstance(entries, dict) else _NOTHING
