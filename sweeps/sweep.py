"""A sweep by its name: its space, as it was run."""

from search_spaces.load import load
from search_spaces.space import SearchSpace
from sweeps import results
from sweeps.store.paths import SweepPaths


def space_of(paths: SweepPaths) -> SearchSpace:
    """The space of a sweep, as it was run.

    Raises:
        SweepError: If there is no such sweep, or a part of it lies elsewhere.
    """
    results.check_exists(paths)
    return load(paths.space)
