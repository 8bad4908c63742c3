"""Columns of searched parameters; a trial without a conditional parameter holds its default there."""

import difflib

import numpy as np

from search_spaces.space import Parameter, SearchSpace
from sweeps.errors import SweepError
from sweeps.pareto import Table


def parameter_of(space: SearchSpace, name: str) -> Parameter:
    """A parameter by its name.

    Raises:
        SweepError: If the space does not search it.
    """
    if name not in space.parameters:
        near = difflib.get_close_matches(name, space.parameters, n=1, cutoff=0.0)
        guess = f"Did you mean {near[0]!r}?" if near else "It searches nothing."
        raise SweepError(f"parameter {name}: must be searched by the space {space.name}, but is not. {guess}")
    return space.parameters[name]


def column(trials: Table, name: str) -> np.ndarray:
    """A parameter's values, one per trial: floats with null as NaN, or objects of a parameter that takes names."""
    return np.asarray(trials.column(name).to_numpy())


def present(trials: Table, space: SearchSpace, name: str) -> np.ndarray:
    """Mask of the trials that have a parameter: its conditions hold, and recursively those of their parameters.

    Returns:
        Booleans of shape [trial].
    """
    values = column(trials, name)
    found = np.array([value is not None for value in values]) if values.dtype == object else ~np.isnan(values)
    for parent, wanted in parameter_of(space, name).when.items():
        there = column(trials, parent)
        found &= there == wanted if isinstance(wanted, str) else np.isclose(there, wanted, rtol=1e-9, atol=0.0)
        if parent in space.parameters:
            found &= present(trials, space, parent)
    return found
