"""Checks searched fields and turns them into distributions."""

from collections.abc import Mapping
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces.faults import Faults, check_value, number_remedy, show
from search_spaces.schema import ChoicesEntry, RangeEntry, validate
from search_spaces.space import Distribution, Value
from search_spaces.vocabulary import exact
from supermask.config import RULES, Rule

_LARGEST_EXACT = 2**53  # Optuna keeps parameters as floats, which hold whole numbers up to here.
_MOST_STEPS = 10**9


def check_fields(entries: Mapping[str, Any], section: str, faults: Faults) -> list[str]:
    """The names that are fields; notes the others with the nearest field."""
    for name in entries:
        if name not in RULES:
            faults.add_unknown(f"{section}.{name}", "field", name, RULES)
    return [name for name in entries if name in RULES]


def check_field_value(name: str, value: Any, path: str, faults: Faults) -> Value | None:
    """Checks one value of the field `name`.

    Returns:
        The value in the field's kind; None when it breaks the field's rule.
    """
    if not check_value(faults, path, value, name=name, rule=RULES[name]):
        return None
    return value if isinstance(value, str) else RULES[name].kind(value)


def distribution(name: str, entry: Any, faults: Faults) -> tuple[Distribution | None, dict[str, Any]]:
    """Checks one searched field.

    Args:
        name: The field.
        entry: What the document says of it.
        faults: Receives what is wrong.

    Returns:
        Where its values come from, None when that has faults, and its unchecked condition.
    """
    path = f"search.{name}"
    if isinstance(entry, list):
        return _choices(name, entry, path, faults), {}
    if not isinstance(entry, dict):
        remedy = f"To keep one value, write it under fixed: `{name}: {show(entry)}`."
        faults.add(path, "must be {low, high}, {choices} or a list", got=show(entry), remedy=remedy)
        return None, {}
    if "choices" in entry:
        listed = validate(ChoicesEntry, entry, path, faults)
        return (None, {}) if listed is None else (_choices(name, listed.choices, path, faults), listed.when or {})
    ranged = validate(RangeEntry, entry, path, faults)
    return (None, {}) if ranged is None else (_range(name, ranged, path, faults), ranged.when or {})


def _choices(name: str, values: list[Any], path: str, faults: Faults) -> CategoricalDistribution | None:
    if not values:
        faults.add(path, "must have at least one choice", got="an empty list", remedy="List the values to try.")
        return None
    before = len(faults.lines)
    kept: list[Value] = []
    for place, value in enumerate(values):
        checked = check_field_value(name, value, f"{path}.{place}", faults)
        if checked is not None and checked in kept:
            faults.add(f"{path}.{place}", "choices must differ", got=f"{show(value)} again", remedy="Remove it.")
        elif checked is not None:
            kept.append(checked)
    return CategoricalDistribution(kept) if len(faults.lines) == before else None


def _range(name: str, entry: RangeEntry, path: str, faults: Faults) -> Distribution | None:
    rule = RULES[name]
    if rule.kind is str:
        legal = f"choices: [{', '.join(rule.choices) or 'digits, mnist'}]"
        faults.add(path, f"{name} takes names, not numbers", got="a range", remedy=f"Write `{legal}`.")
        return None
    before = len(faults.lines)
    bounds = [_bound(name, getattr(entry, key), f"{path}.{key}", faults) for key in ("low", "high")]
    step = None if entry.step is None else _step(rule, entry.step, path, faults)
    if entry.log and entry.step is not None:
        remedy = "Remove one of them."
        faults.add(path, "a range has log or step, not both", got=f"log and step {show(entry.step)}", remedy=remedy)
    low, high = bounds
    if low is not None and high is not None:
        _check_order(low, high, entry.log, path, faults)
        if step is not None and low <= high and not entry.log:
            _check_step(low, high, step, path, faults)
    if len(faults.lines) > before or low is None or high is None:
        return None
    if rule.kind is int:
        return IntDistribution(int(low), int(high), log=entry.log, step=1 if step is None else int(step))
    return FloatDistribution(float(low), float(high), log=entry.log, step=None if step is None else float(step))


def _bound(name: str, value: Any, path: str, faults: Faults) -> float | None:
    rule = RULES[name]
    if not check_value(faults, path, value, name=name, rule=rule):
        return None
    if rule.kind is int and value > _LARGEST_EXACT:
        remedy = "Choose a smaller end, or list choices."
        faults.add(path, "the end of a searched range must be at most 2**53", got=show(value), remedy=remedy)
        return None
    return value


def _step(rule: Rule, value: Any, path: str, faults: Faults) -> float | None:
    if not rule.has_kind(value):
        remedy = number_remedy(value, whole=rule.kind is int)
        faults.add(f"{path}.step", f"must be {_number_words(rule)}", got=show(value), remedy=remedy)
        return None
    if value <= 0:
        faults.add(f"{path}.step", "step > 0 must hold", got=show(value), remedy="Choose a positive step.")
        return None
    return value


def _number_words(rule: Rule) -> str:
    return "a whole number" if rule.kind is int else "a finite number"


def _check_order(low: float, high: float, log: bool, path: str, faults: Faults) -> None:
    if low > high:
        faults.add(path, "low <= high must hold", got=f"low {show(low)} and high {show(high)}", remedy="Swap them.")
    if log and low <= 0:
        remedy = "Choose a small positive low, or remove log."
        faults.add(f"{path}.low", "low > 0 must hold with log", got=show(low), remedy=remedy)


def _check_step(low: float, high: float, step: float, path: str, faults: Faults) -> None:
    # As written, because in binary (0.7 - 0.1) / 0.2 is not 3.
    steps = (exact(high) - exact(low)) // exact(step)
    top = exact(low) + steps * exact(step)
    got = f"low {show(low)}, high {show(high)}, step {show(step)}"
    if steps > _MOST_STEPS:
        faults.add(f"{path}.step", f"a range has at most {_MOST_STEPS} steps", got=got, remedy="Remove step.")
    elif top != exact(high):
        remedy = f"The top would never be sampled: end at {float(top):.12g} or change the step."
        faults.add(f"{path}.step", "step must divide high - low", got=got, remedy=remedy)
