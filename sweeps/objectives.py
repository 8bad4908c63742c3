"""Objectives: which metrics count, in which direction and on which scale, and which of two trials is better.

The one source of directions, scales and dominance. Costs are objective values with the sign that makes less better. A
claim is a trial's costs followed by its number, so that of trials with equal costs the lowest number stands.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sweeps.errors import SweepError

if TYPE_CHECKING:
    from search_spaces.space import Constraint, SearchSpace

Directions = Mapping[str, str]
"""Metrics, the most important first, each to `maximize` or `minimize`."""
Row = Mapping[str, Any]
Claim = tuple[float, ...]

_LOSS_OF_GUESSING = math.log(100)
RANGES: dict[str, tuple[float, float]] = {
    "val_accuracy": (0.0, 1.0),
    "test_accuracy": (0.0, 1.0),
    "remaining": (0.0, 1.0),
    "inverted": (0.0, 1.0),
    "train_loss": (0.0, _LOSS_OF_GUESSING),
    "val_loss": (0.0, _LOSS_OF_GUESSING),
    "test_loss": (0.0, _LOSS_OF_GUESSING),
}
"""The worse end of a range is the metric's reference for the hypervolume, the same in every sweep: accuracy 0,
remaining 1, and for a loss that of an even guess among a hundred classes."""
ACCURACIES = ("val_accuracy", "test_accuracy")
FRACTIONS = tuple(metric for metric, ends in RANGES.items() if ends == (0.0, 1.0))
"""Metrics in [0, 1], which tables show in percent."""


@dataclass(frozen=True)
class Objectives:
    """Directions of the metrics that count, and the bounds that a trial has to keep.

    Attributes:
        directions: Metrics, the most important first, each to `maximize` or `minimize`.
        constraints: Bounds; a trial that breaks one is on no front.

    Raises:
        SweepError: If a metric has another direction.
    """

    directions: Directions
    constraints: Sequence["Constraint"] = field(default=())

    def __post_init__(self) -> None:
        """Checks the directions."""
        for metric, direction in self.directions.items():
            if direction not in ("maximize", "minimize"):
                raise SweepError(
                    f"objective {metric}: direction must be maximize or minimize, but got {direction!r}. "
                    "Give one of the two."
                )

    @classmethod
    def of(cls, space: "SearchSpace") -> Self:
        """Objectives and constraints of a search space."""
        return cls(space.objectives, space.constraints)

    @property
    def signs(self) -> np.ndarray:
        """The factor that makes less better, of shape [objective]: -1 for a maximized metric, else 1."""
        return np.array([self.sign(metric) for metric in self.directions])

    def sign(self, metric: str) -> float:
        """The same for one metric; one that is no objective counts in its usual direction."""
        usual = "maximize" if metric in ACCURACIES else "minimize"
        return -1.0 if self.directions.get(metric, usual) == "maximize" else 1.0

    def costs(self, row: Row) -> tuple[float, ...]:
        """Costs of a trial row, which holds metrics by name."""
        return tuple(self.sign(metric) * row[metric] for metric in self.directions)

    def claim(self, row: Row) -> Claim:
        """Costs and number of a trial row."""
        return (*self.costs(row), row["trial"])

    def cost_array(self, column: Callable[[str], np.ndarray]) -> np.ndarray:
        """Costs of many trials, of shape [trial, objective], from the column of each metric.

        Raises:
            SweepError: If there is no objective.
        """
        if not self.directions:
            raise SweepError("objectives: must name at least one metric, but got none. Give one, like val_accuracy.")
        return np.column_stack([self.sign(metric) * column(metric) for metric in self.directions])

    def violation(self, row: Row) -> float:
        """Sum of what a trial row misses of the constraints; 0 if it keeps them all."""
        return sum(max(0.0, bound.violation(row[bound.metric])) for bound in self.constraints)

    def is_feasible(self, row: Row) -> bool:
        """Whether a trial row keeps every constraint; NaN keeps none."""
        return all(bound.violation(row[bound.metric]) <= 0 for bound in self.constraints)

    def reference(self) -> dict[str, float]:
        """Reference point of the hypervolume: of each objective the worse end of its range.

        Raises:
            SweepError: If an objective has no range.
        """
        for metric in self.directions:
            if metric not in RANGES:
                raise SweepError(
                    f"objective {metric}: must have a reference for the hypervolume, but only these have one: "
                    f"{', '.join(RANGES)}. Choose one of them."
                )
        return {metric: RANGES[metric][0 if self.sign(metric) < 0 else 1] for metric in self.directions}


def is_beaten(claim: Sequence[float], rivals: Iterable[Sequence[float]]) -> bool:
    """Whether some rival claim is at least as good in every objective; of equal ones the lowest number stands."""
    return any(
        tuple(rival) < tuple(claim) and all(theirs <= own for theirs, own in zip(rival[:-1], claim[:-1], strict=True))
        for rival in rivals
    )


def on_front(costs: np.ndarray) -> np.ndarray:
    """Which rows of costs, of shape [trial, objective], no other row beats; of equal rows the first stands.

    Returns:
        Booleans of shape [trial].
    """
    import moocore  # takes a third of a second, and the command line asks for less

    return moocore.is_nondominated(costs, keep_weakly=False) if len(costs) else np.zeros(0, dtype=bool)


def front_ranks(costs: np.ndarray) -> np.ndarray:
    """Ranks of non-dominated sorting, of shape [trial]: 0 on the front, 1 on the front without those, and so on.

    Unlike in `on_front`, equal rows have equal ranks.
    """
    import moocore

    return moocore.pareto_rank(costs) if len(costs) else np.zeros(0, dtype=int)


def scaled(metric: str, values: np.ndarray) -> np.ndarray:
    """Values on the scale on which differences of a metric compare: `remaining` in decades, others as they are."""
    if metric != "remaining":
        return values
    with np.errstate(divide="ignore"):
        return np.log10(values)


class ParetoArchive:
    """The feasible trials that no other beats, kept up to date trial by trial.

    Args:
        objectives: Decide.
    """

    def __init__(self, objectives: Objectives) -> None:
        self._objectives = objectives
        self.claims: dict[int, Claim] = {}
        """Claims of the members, by trial."""

    def add(self, row: Row) -> list[int] | None:
        """Adds a trial if it belongs on the front.

        Args:
            row: Its number as `trial`, and its metrics by name.

        Returns:
            The members that it displaces; None if it is infeasible, beaten, or not finite in every objective.
        """
        claim = self._objectives.claim(row)
        if not self._objectives.is_feasible(row) or not all(map(math.isfinite, claim)):
            return None
        if is_beaten(claim, self.claims.values()):
            return None
        displaced = [trial for trial, theirs in self.claims.items() if is_beaten(theirs, [claim])]
        for trial in displaced:
            del self.claims[trial]
        self.claims[row["trial"]] = claim
        return displaced
