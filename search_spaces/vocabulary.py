"""The names a search space may use, and what each may hold.

The table of fields repeats the training configuration's rules, because this package does not
import the trainer; a test compares the two value for value.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

METRICS = ("val_accuracy", "val_loss", "train_loss", "remaining", "inverted")
"""Metrics that may be objectives or be constrained; none of them sees the test set."""

FRACTIONS = ("val_accuracy", "remaining", "inverted")
"""Metrics that lie in [0, 1]."""

DIRECTIONS = ("maximize", "minimize")
SAMPLERS = ("tpe", "random", "nsga2", "gp")
GAINS = ("elu", "elus")
"""Names that may stand for a number in `weight_gain`."""


@dataclass(frozen=True)
class Rule:
    """What one field may hold.

    Attributes:
        kind: The type of the value: `int`, `float` or `str`.
        low: Smallest legal number.
        high: Largest legal number.
        open_low: Whether `low` itself is excluded.
        open_high: Whether `high` itself is excluded.
        choices: The legal names; empty when any value of the kind is legal.
    """

    kind: type
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    choices: tuple[str, ...] = ()

    def has_kind(self, value: Any) -> bool:
        """Whether `value` is a finite number, a finite whole number or a name, as the rule asks.

        A whole number counts as a number unless it is too large for a float.
        """
        if isinstance(value, bool):
            return False
        if self.kind is float and isinstance(value, int | float):
            return is_finite(value)
        return isinstance(value, self.kind)

    def holds(self, value: Any) -> bool:
        """Whether `value`, which has the kind, lies within the bounds or among the choices."""
        if self.kind is str:
            return bool(value) and (not self.choices or value in self.choices)
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    def bounds(self, name: str) -> str:
        """The bounds in words, e.g. `0 <= pruning_rate < 1`; just the name without bounds."""
        left = f"{self.low:g} {'<' if self.open_low else '<='} " if self.low > -math.inf else ""
        right = f" {'<' if self.open_high else '<='} {self.high:g}" if self.high < math.inf else ""
        return f"{left}{name}{right}"


def is_finite(number: float) -> bool:
    """Whether a number is finite as a float; a whole number beyond the floats is not."""
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def exact(number: float) -> Fraction:
    """The number as it is written: 0.1 is a tenth here, which no binary float is."""
    return Fraction(number) if isinstance(number, int) else Fraction(str(number))


RESNETS = ("resnet20", "resnet56", "resnet110")
MASKED_METHODS = ("signed", "zhou", "edge_popup", "multi_prize")

FIELDS: dict[str, Rule] = {
    "network": Rule(str, choices=("fcn", "conv2", "conv4", "conv6", "conv8", *RESNETS)),
    "width": Rule(float, low=0, open_low=True, high=64),
    "dataset": Rule(str),
    "method": Rule(str, choices=(*MASKED_METHODS, "dense")),
    "mask_rule": Rule(str, choices=("threshold", "target")),
    "pruning_rate": Rule(float, low=0, high=1, open_high=True),
    "learning_rate": Rule(float, low=0, open_low=True),
    "weight_decay": Rule(float, low=0, high=1, open_high=True),
    "momentum": Rule(float, low=0, high=1, open_high=True),
    "schedule": Rule(str, choices=("exponential", "plateau", "constant")),
    "decay_rate": Rule(float, low=0, high=1, open_low=True),
    "decay_epochs": Rule(float, low=0, open_low=True),
    "plateau_patience": Rule(int, low=1, high=1_000_000),
    "plateau_factor": Rule(float, low=0, high=1, open_low=True),
    "plateau_reductions": Rule(int, low=0, high=1_000_000),
    "epochs": Rule(int, low=1, high=1_000_000),
    "batch_size": Rule(int, low=1, high=1_000_000),
    "augmentation": Rule(str, choices=("none", "crop_flip")),
    "stem_norm": Rule(str, choices=("fixed", "trained")),
    "weight_init": Rule(str, choices=("signed_constant", "constant", "normal", "uniform")),
    "weight_scale": Rule(str, choices=("he", "xavier")),
    "weight_gain": Rule(float, low=0, open_low=True),
    "score_scale": Rule(str, choices=("he", "xavier")),
    "score_gain": Rule(float, low=0, open_low=True),
    "seed": Rule(int, low=0, high=2**63 - 1),
    "data_seed": Rule(int, low=0, high=2**63 - 1),
    "validation_fraction": Rule(float, low=0, high=0.9, open_low=True),
}
"""Every field of the training configuration, in its order."""

OWNERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "mask_rule": ("method", ("signed",)),
    "pruning_rate": ("method", MASKED_METHODS),
    "score_scale": ("method", MASKED_METHODS),
    "score_gain": ("method", MASKED_METHODS),
    "decay_rate": ("schedule", ("exponential",)),
    "decay_epochs": ("schedule", ("exponential",)),
    "plateau_patience": ("schedule", ("plateau",)),
    "plateau_factor": ("schedule", ("plateau",)),
    "plateau_reductions": ("schedule", ("plateau",)),
    "stem_norm": ("network", RESNETS),
}
"""Fields that may be given only with some values of another one."""

DEFAULTS: dict[str, Any] = {
    "network": "fcn",
    "method": "signed",
    "schedule": "exponential",
    "mask_rule": "threshold",
    "pruning_rate": 0.5,
    "score_scale": "xavier",
    "score_gain": 1.0,
    "decay_rate": 0.9,
    "decay_epochs": 10.0,
    "plateau_patience": 15,
    "plateau_factor": 0.2,
    "plateau_reductions": 5,
    "stem_norm": "fixed",
}
"""What owners and owned fields are where a space does not say."""
