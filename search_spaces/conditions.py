"""Checks the conditions (`when`) of searched fields against what is fixed and searched."""

from collections.abc import Mapping
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution

from search_spaces.faults import Faults, nearest, show
from search_spaces.parameters import check_field_value
from search_spaces.space import CIRCLE_REMEDY, CIRCLE_RULE, Distribution, Value, find_circle
from search_spaces.vocabulary import exact
from supermask.config import RULES

Entries = Mapping[str, tuple[Distribution | None, dict[str, Any]]]
Conditions = dict[str, dict[str, Value]]

_NAMED = "a condition must name a searched or fixed field"
_POSSIBLE = "a condition must hold in some trial"


def resolve(entries: Entries, fixed: Mapping[str, Value | None], faults: Faults) -> Conditions:
    """Checks the conditions of all searched fields.

    Args:
        entries: Per searched field its distribution (None when faulty) and its condition.
        fixed: Fixed fields with their values (None when faulty).
        faults: Receives what is wrong.

    Returns:
        Per searched field the part of its condition that is on searched fields; that on fixed ones holds.
    """
    left: Conditions = {name: {} for name in entries}
    for name, (_, when) in entries.items():
        for parent, wanted in when.items():
            path = f"search.{name}.when.{parent}"
            if parent not in entries and parent not in fixed:
                _note_unnamed(parent, [*entries, *fixed], path, faults)
                continue
            value = check_field_value(parent, wanted, path, faults)
            if value is not None and parent in entries:
                _check_drawn(entries[parent][0], value, path, faults)
                left[name][parent] = value
            elif value is not None and fixed[parent] not in (None, value):
                got = f"{show(value)} while fixed.{parent} is {show(fixed[parent])}"
                faults.add(path, _POSSIBLE, got=got, remedy=f"Remove search.{name}, or search {parent}.")
    circle = find_circle(left)
    if circle:
        faults.add("search", CIRCLE_RULE, got=circle, remedy=CIRCLE_REMEDY)
    for name in left:
        _check_together(name, left, faults)
    return left


def _note_unnamed(parent: str, legal: list[str], path: str, faults: Faults) -> None:
    known = f"Add {parent} to search or remove the condition." if parent in RULES else nearest(parent, legal)
    faults.add(path, _NAMED, got=show(parent), remedy=known)


def _check_drawn(parent: Distribution | None, value: Value, path: str, faults: Faults) -> None:
    """Notes a fault unless the parent can draw exactly this value."""
    if isinstance(parent, FloatDistribution) and parent.step is None:
        remedy = "Search that field as choices."
        faults.add(path, "a condition needs a field with choices or steps", got="a continuous range", remedy=remedy)
    elif parent is not None and not _draws(parent, value):
        legal = (
            f"one of {', '.join(map(str, parent.choices))}"
            if isinstance(parent, CategoricalDistribution)
            else f"{parent.low} to {parent.high} in steps of {parent.step}"
        )
        faults.add(path, f"{_POSSIBLE}, and the search has {legal}", got=show(value), remedy="Choose one of these.")


def _draws(parent: Distribution, value: Value) -> bool:
    if isinstance(parent, CategoricalDistribution):
        return value in parent.choices
    if isinstance(value, str) or not parent.low <= value <= parent.high:
        return False
    if parent.log:
        return True
    return (exact(value) - exact(parent.low)) % exact(parent.step or 1) == 0


def _check_together(name: str, conditions: Conditions, faults: Faults) -> None:
    """Notes a fault when the conditions of a parameter and of those it waits for exclude each other."""
    wanted: dict[str, Value] = {}
    waiting, seen = [name], {name}
    while waiting:
        for parent, value in conditions[waiting.pop()].items():
            if wanted.setdefault(parent, value) != value:
                got = f"{parent} {show(wanted[parent])} and {show(value)} at once"
                faults.add(f"search.{name}.when", _POSSIBLE, got=got, remedy="Remove one of the two.")
                return
            if parent not in seen:
                seen.add(parent)
                waiting.append(parent)
