"""Designs: trials that follow from their number alone, as points of a grid or of a Sobol sequence."""

import bisect
import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces.errors import SpaceError
from search_spaces.space import Parameter, SearchSpace, Value
from search_spaces.vocabulary import MOST_POINTS

POINTS = 3
"""Values that a grid takes of a range which says nothing else, at least."""
_STRIDE = (math.sqrt(5) - 1) / 2

Point = dict[str, Value]
"""Values of searched fields by name."""


class Grid:
    """Every combination of the choices of a space and of some values of its ranges.

    A field whose condition does not hold has no value in a combination, so none is there twice.

    Args:
        space: What may vary. The seed of its sampler decides the order: a budget smaller than the grid is spread over
            it.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._seed, parameters = space.sampler.seed, space.parameters
        named = {parent for one in parameters.values() for parent in one.when}
        shared = {name: one for name, one in parameters.items() if name in named}
        others = {name: one for name, one in parameters.items() if name not in named}
        self._blocks = [
            _Block(point, {name: values_of(one) for name, one in others.items() if one.exists(point)})
            for point in _combined(shared, dict(space.fixed))
        ]
        self._ends = list(itertools.accumulate(block.size for block in self._blocks))

    @property
    def size(self) -> int:
        """Number of combinations."""
        return self._ends[-1]

    @cached_property
    def _stride(self) -> int:
        """Prime to the size, so that as many trials as it has come to every combination once."""
        stride = max(1, round(_STRIDE * self.size))
        while math.gcd(stride, self.size) > 1:
            stride += 1
        return stride

    def point(self, number: int) -> Point:
        """The combination of a trial."""
        start = int(np.random.default_rng(self._seed).integers(self.size))
        place = (start + number * self._stride) % self.size
        found = bisect.bisect_right(self._ends, place)
        return self._blocks[found].point(place - (self._ends[found] - self._blocks[found].size))


class _Block(NamedTuple):
    """The combinations that agree in all fields on which others depend.

    Attributes:
        shared: Values of these, and of the fixed fields.
        values: Those of every other field that exists there.
    """

    shared: Point
    values: dict[str, tuple[Value, ...]]

    @property
    def size(self) -> int:
        return math.prod(map(len, self.values.values()))

    def point(self, place: int) -> Point:
        found = dict(self.shared)
        for name, values in self.values.items():
            place, own = divmod(place, len(values))
            found[name] = values[own]
        return found


def _combined(left: dict[str, Parameter], point: Point) -> Iterator[Point]:
    """All combinations of fields of which each follows those it depends on, with what is known already."""
    if not left:
        yield point
        return
    (name, one), *others = left.items()
    for value in values_of(one) if one.exists(point) else [None]:
        yield from _combined(dict(others), point if value is None else point | {name: value})


class Sobol:
    """A scrambled Sobol sequence: every stretch of it is spread evenly over all ranges and choices.

    Args:
        space: What may vary; the seed of its sampler scrambles.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._parameters, self._seed = space.parameters, space.sampler.seed

    def point(self, number: int) -> Point:
        """The values of a trial, those of fields whose condition does not hold included."""
        from scipy.stats import qmc  # takes a second to import

        sequence = qmc.Sobol(len(self._parameters), scramble=True, rng=np.random.default_rng(self._seed))
        if number:
            sequence.fast_forward(number)
        shares = sequence.random(1)[0].tolist()
        return {name: value_at(one, share) for (name, one), share in zip(self._parameters.items(), shares, strict=True)}


def design_of(space: SearchSpace) -> Grid | Sobol | None:
    """The design that a space's sampler follows; None of one that draws."""
    match space.sampler.name:
        case "grid":
            return Grid(space)
        case "qmc":
            return Sobol(space)
        case _:
            return None


def grid_size(space: SearchSpace) -> int | None:
    """Number of combinations of a space whose sampler is a grid; None of another one."""
    design = design_of(space)
    return design.size if isinstance(design, Grid) else None


BUDGET_RULE = "a grid has as many trials as combinations at most"
BUDGET_REMEDY = "Lower the budget, or let the grid take more values of a range: `points: 5`."


def filled(space: SearchSpace) -> SearchSpace:
    """A space whose grid has a combination for every trial, as far as ranges leave open how many values it takes.

    The number is written into the space, so that a sweep that goes on has the same grid.
    """
    if space.sampler.name != "grid":
        return space
    points = POINTS
    while points < MOST_POINTS and Grid(_with_points(space, points)).size < space.trials:
        points = min(2 * points, MOST_POINTS)
    fewer = range(max(POINTS, points // 2), points + 1)
    place = bisect.bisect_left(fewer, space.trials, key=lambda count: Grid(_with_points(space, count)).size)
    return _with_points(space, fewer[min(place, len(fewer) - 1)])


def _with_points(space: SearchSpace, points: int) -> SearchSpace:
    """The space with so many values for every range that does not say how many."""
    return replace(
        space,
        parameters={
            name: one
            if one.points or isinstance(one.distribution, CategoricalDistribution)
            else replace(one, points=points)
            for name, one in space.parameters.items()
        },
    )


def check_budget(space: SearchSpace) -> None:
    """Checks that a grid has enough combinations.

    Raises:
        SpaceError: If it has fewer than the budget has trials.
    """
    size = grid_size(space)
    if size is not None and space.trials > size:
        raise SpaceError([f"budget.trials: {BUDGET_RULE}, but got {space.trials} of {size}. {BUDGET_REMEDY}"])


def values_of(parameter: Parameter) -> tuple[Value, ...]:
    """What a grid takes of a field: all choices, or values of its range at equal distances, both ends included."""
    found = parameter.distribution
    if isinstance(found, CategoricalDistribution):
        return parameter.extremes
    count = parameter.points or POINTS
    shares = [0.5] if count == 1 else [place / (count - 1) for place in range(count)]
    return tuple(dict.fromkeys(_between(found, share) for share in shares))


def value_at(parameter: Parameter, share: float) -> Value:
    """The value that lies so far, in [0, 1), through the choices or the range of a field, each of equal chance."""
    found = parameter.distribution
    if isinstance(found, CategoricalDistribution):
        return parameter.extremes[int(share * len(found.choices))]
    if found.step is None or found.log:
        return _between(found, share)
    steps = round((found.high - found.low) / float(found.step))
    return _stepped(found, min(int(share * (steps + 1)), steps))


def _between(found: FloatDistribution | IntDistribution, share: float) -> Value:
    """The value at a share of a range, of which a step is kept; to twelve digits, as people would write it."""
    low, high = found.low, found.high
    if found.step is not None and not found.log:
        return _stepped(found, round(share * (high - low) / found.step))
    ends = (math.log(low), math.log(high)) if found.log else (low, high)
    value = ends[0] + share * (ends[1] - ends[0])
    value = float(f"{math.exp(value) if found.log else value:.12g}")
    return min(max(round(value) if isinstance(found, IntDistribution) else value, low), high)


def _stepped(found: FloatDistribution | IntDistribution, steps: int) -> Value:
    return min(found.low + steps * (found.step or 1), found.high)
