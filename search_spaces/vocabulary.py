"""The names a search space may use beside the fields of `supermask.config`, which says what each of those may hold."""

from fractions import Fraction

METRICS = ("val_accuracy", "val_loss", "train_loss", "remaining", "inverted")
"""Metrics that may be objectives or be constrained; none of them sees the test set."""

FRACTIONS = ("val_accuracy", "remaining", "inverted")
"""Metrics that lie in [0, 1]."""

DIRECTIONS = ("maximize", "minimize")
SCALES: dict[str, tuple[str, ...]] = {"remaining": ("log", "linear"), "inverted": ("linear", "log")}
"""Legal scales of an objective, its usual one first; of those that are not named, `linear` alone."""
SAMPLERS = ("tpe", "random", "nsga2", "gp", "grid", "qmc")
MOST_POINTS = 1000
"""Values that a grid takes of a range, at most."""


def exact(number: float) -> Fraction:
    """The number as it is written: 0.1 is a tenth here, which no binary float is."""
    return Fraction(number) if isinstance(number, int) else Fraction(str(number))
