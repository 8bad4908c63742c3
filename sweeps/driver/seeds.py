"""Fresh seeds for trials that are trained again."""

from collections.abc import Collection, Iterator

import numpy as np

_ENTROPY = 2201_13361
"""A constant: the k-th fresh seed is the same for every trial of every sweep, today and next year."""
_LOWEST = 2**62
"""Fresh seeds lie in [2**62, 2**63). A sweep counts its own up from 0 (see `sweeps.search.study`)."""


def fresh_seeds(count: int, used: Collection[int]) -> list[int]:
    """The first `count` fresh seeds; asking for more later leaves these as they are.

    Args:
        count: How many.
        used: Seeds that must not come again, e.g. those a space fixes or searches.
    """
    return [next(seed for seed in _draws(index) if seed not in used) for index in range(count)]


def _draws(index: int) -> Iterator[int]:
    """What may be the seed of this index; all but the first are for the case that it was used."""
    generator = np.random.default_rng(np.random.SeedSequence((_ENTROPY, index)))
    while True:
        yield _LOWEST + int(generator.integers(2**62))
