"""Objectives: which metrics count, in which direction, and which of two trials is better."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Costs = tuple[float, ...]
Claim = tuple[float, ...]
"""A trial's costs and, at the end, its number."""


def costs_of(row: Mapping[str, Any], objectives: Iterable[Sequence[str]]) -> Costs:
    """The objectives of a trial row, with the sign that makes less better.

    Args:
        row: Final metrics by name.
        objectives: Pairs of metric and direction.
    """
    return tuple(-row[metric] if direction == "maximize" else row[metric] for metric, direction in objectives)


def claim_of(row: Mapping[str, Any], objectives: Iterable[Sequence[str]]) -> Claim:
    """What a trial row has to show for a place on the front; see `costs_of`."""
    return (*costs_of(row, objectives), row["trial"])


def is_beaten(claim: Claim, rivals: Iterable[Sequence[float]]) -> bool:
    """Whether some rival is at least as good in every objective; of equals the lowest number stands, as on a front."""
    return any(
        tuple(rival) < claim and all(theirs <= own for theirs, own in zip(rival[:-1], claim[:-1], strict=True))
        for rival in rivals
    )
