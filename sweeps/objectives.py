"""Objectives: which metrics count, in which direction and on which scale, and which of two networks is better.

The one source of directions, scales and dominance. Costs are objective values on their scale, with the sign that makes
less better. A claim is a network's costs followed by its trial and epoch, so that of networks with equal costs that of
the lowest trial and epoch stands.

Accuracy on the validation part is judged by its estimate (`sweeps.estimate`) wherever a row or a table has one.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sweeps.errors import SweepError

if TYPE_CHECKING:
    from search_spaces.space import Constraint, SearchSpace

Directions = Mapping[str, str]
"""Metrics, the most important first, each to `maximize` or `minimize`."""
Row = Mapping[str, Any]
Claim = tuple[float, ...]
Key = tuple[int, int]
"""Trial and epoch: the name of a network."""

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
"""What a metric can be; of a loss the worse end is that of an even guess among a hundred classes."""
ACCURACIES = ("val_accuracy", "test_accuracy")
FRACTIONS = (*(metric for metric, ends in RANGES.items() if ends == (0.0, 1.0)), "estimate", "standard_error")
"""Metrics in [0, 1], which tables show in percent."""
DECADES = 3
"""Factors of ten below 1 that count on a logarithmic scale: to 0.1 %."""
_LEAST = 10.0 ** (-2 * DECADES)


@dataclass(frozen=True)
class Objectives:
    """Directions and scales of the metrics that count, and the bounds that a network has to keep.

    Attributes:
        directions: Metrics, the most important first, each to `maximize` or `minimize`.
        constraints: Bounds; a network that breaks one is on no front.
        scales: `log` or `linear` for metrics whose scale is not the usual one: `log` of `remaining`, else `linear`.
        classes: Number of classes; guessing, from where the hypervolume counts, has the accuracy of one over it.

    Raises:
        SweepError: If a metric has another direction.
    """

    directions: Directions
    constraints: Sequence["Constraint"] = field(default=())
    scales: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    classes: int = 10

    def __post_init__(self) -> None:
        """Checks the directions."""
        for metric, direction in self.directions.items():
            if direction not in ("maximize", "minimize"):
                raise SweepError(
                    f"objective {metric}: direction must be maximize or minimize, but got {direction!r}. "
                    "Give one of the two."
                )

    @classmethod
    def of(cls, space: "SearchSpace", *, classes: int = 10) -> Self:
        """Objectives, constraints and scales of a search space."""
        return cls(space.objectives, space.constraints, space.scales, classes)

    @classmethod
    def given(cls, objectives: "Objectives | Directions") -> "Objectives":
        """Objectives as they are, or of mere directions."""
        return objectives if isinstance(objectives, Objectives) else cls(objectives)

    @property
    def signs(self) -> np.ndarray:
        """The factor that makes less better, of shape [objective]: -1 for a maximized metric, else 1."""
        return np.array([self.sign(metric) for metric in self.directions])

    def sign(self, metric: str) -> float:
        """The same for one metric; one that is no objective counts in its usual direction."""
        usual = "maximize" if metric in ACCURACIES else "minimize"
        return -1.0 if self.directions.get(metric, usual) == "maximize" else 1.0

    def is_log(self, metric: str) -> bool:
        """Whether a metric counts in factors of ten."""
        return self.scales.get(metric, "log" if metric == "remaining" else "linear") == "log"

    def scaled(self, metric: str, values: np.ndarray) -> np.ndarray:
        """Values on the scale of their metric: the logarithm to base ten, finite also of 0, or as they are."""
        if not self.is_log(metric):
            return values
        return np.log10(np.maximum(values, _LEAST))

    def scaled_value(self, metric: str, value: float) -> float:
        """The same of one value."""
        return math.log10(max(value, _LEAST)) if self.is_log(metric) and not math.isnan(value) else value

    def costs(self, row: Row) -> tuple[float, ...]:
        """Costs of a row, which holds metrics by name."""
        return tuple(
            self.sign(metric) * self.scaled_value(metric, judged_value(row, metric)) for metric in self.directions
        )

    def claim(self, row: Row) -> Claim:
        """Costs, trial and epoch of a row."""
        return (*self.costs(row), row["trial"], row["epoch"])

    def cost_array(self, column: Callable[[str], np.ndarray]) -> np.ndarray:
        """Costs of many networks, of shape [network, objective], from the column of each metric.

        Raises:
            SweepError: If there is no objective.
        """
        if not self.directions:
            raise SweepError("objectives: must name at least one metric, but got none. Give one, like val_accuracy.")
        return np.column_stack([self.sign(metric) * self.scaled(metric, column(metric)) for metric in self.directions])

    def gain_array(self, column: Callable[[str], np.ndarray]) -> np.ndarray:
        """How much better than its reference each network is in each objective, from 0 to 1 for the best there is.

        The scale of the hypervolume: accuracy from guessing to 1, logarithmic metrics from 1 to 0.001, losses from that
        of guessing among a hundred classes to 0. A network that is no better than the reference in some objective, or
        not finite, gains nothing in any.

        Args:
            column: Gives the column of a metric.

        Returns:
            Shape [network, objective].

        Raises:
            SweepError: If an objective has no range.
        """
        gains = np.column_stack([self._gains(metric, column(metric)) for metric in self.directions])
        gains[~(gains > 0).all(axis=1)] = 0
        return gains

    def _gains(self, metric: str, values: np.ndarray) -> np.ndarray:
        worst, best = (self.scaled(metric, np.array([end]))[0] for end in self.ends(metric))
        gains = np.clip((self.scaled(metric, values) - worst) / (best - worst), 0.0, 1.0)
        return np.where(np.isfinite(values), gains, 0.0)

    def ends(self, metric: str) -> tuple[float, float]:
        """The reference and the best value of a metric, for the hypervolume.

        Raises:
            SweepError: If it has no range.
        """
        if metric not in RANGES:
            raise SweepError(
                f"objective {metric}: must have a reference for the hypervolume, but only these have one: "
                f"{', '.join(RANGES)}. Choose one of them."
            )
        low, high = RANGES[metric]
        low = 1 / self.classes if metric in ACCURACIES and self.sign(metric) < 0 else low
        low = 10.0**-DECADES if self.is_log(metric) else low
        return (low, high) if self.sign(metric) < 0 else (high, low)

    def violation(self, row: Row) -> float:
        """Sum of what a row misses of the constraints; 0 if it keeps them all."""
        return sum(max(0.0, bound.violation(judged_value(row, bound.metric))) for bound in self.constraints)

    def is_feasible(self, row: Row) -> bool:
        """Whether a row keeps every constraint; NaN keeps none."""
        return all(bound.violation(judged_value(row, bound.metric)) <= 0 for bound in self.constraints)


def network_name(key: Key) -> str:
    """How a network is written: `TRIAL@EPOCH`."""
    return f"{key[0]}@{key[1]}"


def judged_by(metric: str, there: Collection[str]) -> str:
    """The column by which a metric is judged, of those that are there: validation accuracy by its estimate."""
    return "estimate" if metric == "val_accuracy" and "estimate" in there else metric


def judged_value(row: Row, metric: str) -> float:
    """What a row is judged by in a metric; a row of an older version may lack its estimate."""
    value = row[judged_by(metric, row.keys())]
    return row[metric] if value is None else value


def is_beaten(claim: Sequence[float], rivals: Iterable[Sequence[float]]) -> bool:
    """Whether some rival claim is at least as good in every objective; of equal ones the first stands."""
    return any(
        tuple(rival) < tuple(claim) and all(theirs <= own for theirs, own in zip(rival[:-2], claim[:-2], strict=True))
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


class ParetoArchive:
    """The feasible networks that no other beats, kept up to date network by network.

    Attributes:
        objectives: Decide.

    Args:
        objectives: Decide.
        claims: Of its first members, which beat none of each other.
    """

    def __init__(self, objectives: Objectives, claims: Iterable[Claim] = ()) -> None:
        self.objectives = objectives
        self.claims: dict[Key, Claim] = {(int(claim[-2]), int(claim[-1])): claim for claim in claims}
        """Claims of the members, by trial and epoch."""

    def add(self, row: Row) -> list[Key] | None:
        """Adds a network if it belongs on the front.

        Args:
            row: Its number as `trial`, its `epoch`, and its metrics by name.

        Returns:
            The members that it displaces; None if it is infeasible, beaten, or not finite in every objective.
        """
        claim = self.objectives.claim(row)
        if not self.objectives.is_feasible(row) or not all(map(math.isfinite, claim)):
            return None
        if is_beaten(claim, self.claims.values()):
            return None
        displaced = [key for key, theirs in self.claims.items() if is_beaten(theirs, [claim])]
        for key in displaced:
            del self.claims[key]
        self.claims[row["trial"], row["epoch"]] = claim
        return displaced
