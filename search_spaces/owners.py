"""Checks that a field is given only where what it belongs to is in use, e.g. `plateau_patience` with `plateau`."""

from collections.abc import Mapping

from optuna.distributions import CategoricalDistribution

from search_spaces.faults import Faults, show
from search_spaces.space import Parameter, Value
from supermask.config import OWNERS, TrainConfig


def check(fixed: Mapping[str, Value | None], parameters: Mapping[str, Parameter], faults: Faults) -> None:
    """Notes every field that could meet an owner it has no meaning for.

    Args:
        fixed: Fixed fields with their values (None when faulty).
        parameters: Searched fields.
        faults: Receives what is wrong.
    """
    for name, (owner, allowed) in OWNERS.items():
        if name in parameters:
            path, conditions = f"search.{name}", parameters[name].when
        elif fixed.get(name) not in (None, _default(name)):
            path, conditions = f"fixed.{name}", {}
        else:
            continue
        met = [conditions[owner]] if owner in conditions else _possible(owner, fixed, parameters)
        wrong = [value for value in met if value not in allowed]
        if wrong:
            remedy = "Remove it" + (f", or add `when: {{{owner}: {allowed[0]}}}`" if owner in parameters else "")
            # An option cannot remove a line of a file; the default is allowed everywhere and does nothing.
            remedy += f"; from the command line: --set fixed.{name}={_default(name)}."
            got = f"{owner} {' or '.join(map(show, wrong))}"
            faults.add(path, f"must be left out unless {owner} is {' or '.join(allowed)}", got=got, remedy=remedy)


def _possible(owner: str, fixed: Mapping[str, Value | None], parameters: Mapping[str, Parameter]) -> list[Value]:
    """The values that an owner may have in a trial; none when they are faulty themselves."""
    if owner not in parameters:
        value = fixed.get(owner, _default(owner))
        return [] if value is None else [value]
    found = parameters[owner]
    absent = [_default(owner)] if found.when else []
    return [*(found.extremes if isinstance(found.distribution, CategoricalDistribution) else ()), *absent]


def _default(name: str) -> Value:
    return getattr(TrainConfig, name)
