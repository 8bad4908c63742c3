"""The shape of a document: which keys stand where, and of which kind their values are.

What the values may be depends on the field and is checked in `parameters` and `load`.
"""

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import pydantic
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import ErrorDetails

from search_spaces.faults import Faults, nearest, number_remedy, show
from search_spaces.vocabulary import MOST_POINTS, SAMPLERS
from supermask.config import RULES

_CLOSED = ConfigDict(extra="forbid", strict=True, frozen=True)
_LARGEST_SAMPLER_SEED = 2**32 - 1  # Optuna's samplers seed a generator that takes 32 bits.


class BudgetEntry(BaseModel):
    """`budget`: how much to run."""

    model_config = _CLOSED
    trials: int = Field(ge=1, le=1_000_000)


class SamplerEntry(BaseModel):
    """`sampler`: how trials are proposed."""

    model_config = _CLOSED
    name: Literal["tpe", "random", "nsga2", "gp", "grid", "qmc"] = "tpe"
    seed: int = Field(default=0, ge=0, le=_LARGEST_SAMPLER_SEED)


class StoppingEntry(BaseModel):
    """`stopping`: successive halving."""

    model_config = _CLOSED
    eta: int = Field(ge=2)
    grace_epochs: int = Field(ge=1)


class ObjectiveEntry(BaseModel):
    """An objective that says its scale."""

    model_config = _CLOSED
    direction: Any
    scale: Any = None


class RangeEntry(BaseModel):
    """A searched range of numbers."""

    model_config = _CLOSED
    low: Any
    high: Any
    log: bool = False
    step: Any = None
    points: int | None = Field(default=None, ge=1, le=MOST_POINTS)
    when: dict[str, Any] | None = None


class ChoicesEntry(BaseModel):
    """A searched list of values."""

    model_config = _CLOSED
    choices: list[Any]
    when: dict[str, Any] | None = None


class Document(BaseModel):
    """A whole search space, its fields not yet checked."""

    model_config = _CLOSED
    name: str
    fixed: dict[str, Any] = {}
    search: dict[str, Any]
    objectives: dict[str, Any] = {"val_accuracy": "maximize", "remaining": "minimize"}
    constraints: list[Any] = []
    budget: BudgetEntry
    sampler: SamplerEntry = SamplerEntry()
    stopping: StoppingEntry | None = None


Model = TypeVar("Model", bound=BaseModel)


def validate(model: type[Model], content: Any, path: str, faults: Faults) -> Model | None:
    """Checks the shape of `content`.

    Args:
        model: The shape.
        content: Plain values.
        path: Dotted path of `content` in its document.
        faults: Receives every fault of the shape.

    Returns:
        The checked content, or None when it has faults.
    """
    try:
        return model.model_validate(content)
    except pydantic.ValidationError as error:
        for detail in error.errors(include_url=False):
            _note(detail, path, model, faults)
    return None


_EXAMPLES = {
    "name": "name: my_space",
    "search": "search: {learning_rate: {low: 0.01, high: 1.0, log: true}}",
    "fixed": "fixed: {network: fcn}",
    "objectives": "objectives: {val_accuracy: maximize}",
    "direction": "direction: minimize",
    "constraints": 'constraints: ["val_accuracy >= 0.9"]',
    "budget": "budget: {trials: 64}",
    "budget.trials": "trials: 64",
    "sampler": "sampler: {name: tpe}",
    "stopping": "stopping: {eta: 3, grace_epochs: 5}",
    "stopping.eta": "eta: 3",
    "stopping.grace_epochs": "grace_epochs: 5",
    "when": "when: {mask_rule: target}",
    "choices": "choices: [1, 2]",
    "low": "low: 0.1",
    "high": "high: 0.9",
    "log": "log: true",
    "points": "points: 5",
}
"""What to write, by whole path or by last key."""

_KINDS = {
    "bool_type": ("true or false", "Write true or false."),
    "string_type": ("text", "Put it in quotes."),
    "string_unicode": ("text", "Remove the characters that are not text."),
    "list_type": ("a list", ""),
    "dict_type": ("a mapping", ""),
    "model_type": ("a mapping", ""),
}
"""What a kind of error asks for and how to get it; where that is empty, the example says it."""


def _note(detail: ErrorDetails, path: str, model: type[BaseModel], faults: Faults) -> None:
    keys = [str(key) for key in detail["loc"]]
    place = ".".join([path, *keys] if path else keys)
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    example = _EXAMPLES.get(place) or _EXAMPLES.get(keys[-1] if keys else "", place)
    if kind == "missing":
        faults.add(place, "must be given", got="nothing", remedy=f"Add `{example}`.")
    elif kind == "extra_forbidden":
        if remedy := "" if path else _moved(keys):
            faults.add(place, "must be a known key", got=show(keys[-1]), remedy=remedy)
        else:
            faults.add_unknown(place, "key", keys[-1], _keys_at(model, keys[:-1]))
    elif kind in ("greater_than_equal", "less_than_equal"):
        bound = f">= {context['ge']}" if "ge" in context else f"<= {context['le']}"
        faults.add(place, f"{keys[-1]} {bound} must hold", got=show(value), remedy="Choose a value inside the range.")
    elif kind == "literal_error":
        faults.add(place, f"must be one of {', '.join(SAMPLERS)}", got=show(value), remedy=nearest(value, SAMPLERS))
    elif kind == "int_type":
        faults.add(place, "must be a whole number", got=show(value), remedy=number_remedy(value, whole=True))
    else:
        wanted, remedy = _KINDS.get(kind, ("a value of another kind", ""))
        if value is None or not remedy:
            remedy = f"Write it like `{example}`."
        faults.add(place, f"must be {wanted}", got=show(value), remedy=remedy)


def _moved(keys: Sequence[str]) -> str:
    """Where a key belongs that stands elsewhere in a document; empty if it belongs nowhere."""
    key = keys[-1]
    if key in RULES and keys[:-1] in ([], ["budget"]):
        return f"It is a field of a trial: write 'fixed.{key}' or 'search.{key}'."
    if len(keys) > 1:
        return ""
    section = next((section for section, model in _NESTED.items() if key in model.model_fields), "")
    return section and f"It is a key of {section}: write '{section}.{key}'."


def _keys_at(model: type[BaseModel], keys: Sequence[str]) -> list[str]:
    """The legal keys of the mapping at `keys` below `model`."""
    if not keys:
        return list(model.model_fields)
    return list(_NESTED[keys[0]].model_fields)


_NESTED: dict[str, type[BaseModel]] = {"budget": BudgetEntry, "sampler": SamplerEntry, "stopping": StoppingEntry}
