"""What decides a trial's result, and nothing else."""

import dataclasses
import difflib
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

RESNETS = ("resnet20", "resnet56", "resnet110")
NETWORKS = ("fcn", "conv2", "conv4", "conv6", "conv8", *RESNETS)
MASKED_METHODS = ("signed", "zhou", "edge_popup", "multi_prize")
METHODS = (*MASKED_METHODS, "dense")
MASK_RULES = ("threshold", "target")
SCHEDULES = ("exponential", "plateau", "constant")
AUGMENTATIONS = ("none", "crop_flip")
STEM_NORMS = ("fixed", "trained")
WEIGHT_INITS = ("signed_constant", "constant", "normal", "uniform")
FAN_SCALES = ("he", "xavier")
GAIN_RULES = ("fixed", "elu", "elus")

STRUCTURAL = (
    "network",
    "width",
    "dataset",
    "method",
    "mask_rule",
    "schedule",
    "epochs",
    "batch_size",
    "augmentation",
    "stem_norm",
    "data_seed",
    "validation_fraction",
)
"""Fields that change tensor shapes, the program or the order of the data: equal for all lanes of a pack."""

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
    "weight_gain": ("gain_rule", ("fixed",)),
}
"""Fields that mean something only with some values of another one; elsewhere they keep their default."""


class ConfigError(ValueError):
    """A configuration or its data cannot be used; the message names place, rule, value and remedy."""


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

    def text(self, name: str) -> str:
        """The rule in words, e.g. `0 <= pruning_rate < 1 must hold`."""
        if self.choices:
            return f"{name} must be one of {', '.join(self.choices)}"
        bounds = self.bounds(name)
        return f"{name} must be {_KIND_WORDS[self.kind]}" if bounds == name else f"{bounds} must hold"

    def bounds(self, name: str) -> str:
        """The bounds in words, e.g. `0 <= pruning_rate < 1`; just the name without bounds."""
        left = f"{self.low:g} {'<' if self.open_low else '<='} " if self.low > -math.inf else ""
        right = f" {'<' if self.open_high else '<='} {self.high:g}" if self.high < math.inf else ""
        return f"{left}{name}{right}"

    def admits(self, value: Any) -> bool:
        """Whether `value` has the kind and lies within the bounds or among the choices."""
        return self.has_kind(value) and self.holds(value)

    def has_kind(self, value: Any) -> bool:
        """Whether `value` is a finite number, a whole number or a name, as the rule asks.

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


def is_finite(number: float) -> bool:
    """Whether a number is finite as a float; a whole number beyond the floats is not."""
    # math.isfinite raises on a whole number beyond the largest float; a NaN compares false.
    return abs(number) <= sys.float_info.max


_KIND_WORDS = {int: "a whole number", float: "a number", str: "a name"}

RULES: dict[str, Rule] = {
    "network": Rule(str, choices=NETWORKS),
    "width": Rule(float, low=0, open_low=True, high=64),
    "dataset": Rule(str),
    "method": Rule(str, choices=METHODS),
    "mask_rule": Rule(str, choices=MASK_RULES),
    "pruning_rate": Rule(float, low=0, high=1, open_high=True),
    "learning_rate": Rule(float, low=0, open_low=True),
    "weight_decay": Rule(float, low=0, high=1, open_high=True),
    "momentum": Rule(float, low=0, high=1, open_high=True),
    "schedule": Rule(str, choices=SCHEDULES),
    "decay_rate": Rule(float, low=0, high=1, open_low=True),
    "decay_epochs": Rule(float, low=0, open_low=True),
    "plateau_patience": Rule(int, low=1, high=1_000_000),
    "plateau_factor": Rule(float, low=0, high=1, open_low=True),
    "plateau_reductions": Rule(int, low=0, high=1_000_000),
    "epochs": Rule(int, low=1, high=1_000_000),
    "batch_size": Rule(int, low=1, high=1_000_000),
    "augmentation": Rule(str, choices=AUGMENTATIONS),
    "stem_norm": Rule(str, choices=STEM_NORMS),
    "weight_init": Rule(str, choices=WEIGHT_INITS),
    "weight_scale": Rule(str, choices=FAN_SCALES),
    "gain_rule": Rule(str, choices=GAIN_RULES),
    "weight_gain": Rule(float, low=0, open_low=True),
    "score_scale": Rule(str, choices=FAN_SCALES),
    "score_gain": Rule(float, low=0, open_low=True),
    "seed": Rule(int, low=0, high=2**63 - 1),
    "data_seed": Rule(int, low=0, high=2**63 - 1),
    "validation_fraction": Rule(float, low=0, high=0.9, open_low=True),
}
"""One rule per field of `TrainConfig`, in its order."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides a trial's result. Defaults: the FCN of arXiv 2201.13361.

    Raises:
        ConfigError: On construction, naming every field whose rule is broken.
    """

    network: str = "fcn"
    """`fcn`, `conv2` ... `conv8`, `resnet20`, `resnet56` or `resnet110` (arXiv 2201.13361, appendix)."""
    width: float = 1.0
    """Factor on every hidden width, > 0. Paper: 1."""
    dataset: str = "mnist"
    """`digits`, `mnist`, `fashion_mnist`, `cifar10`, `cifar100`, `cifar10-jpeg` or `folder:NAME`."""
    method: str = "signed"
    """What is trained, see `supermask.methods`: `signed`, `zhou`, `edge_popup`, `multi_prize` or `dense` (weights)."""
    mask_rule: str = "threshold"
    """Of `signed`. `threshold`: fixed after initialisation (paper); `target`: holds `pruning_rate` all through."""
    pruning_rate: float = 0.5
    """Hidden fraction of each layer, [0, 1): initial (`threshold`, `zhou`) or prescribed. Paper: 0.1-0.8."""
    learning_rate: float = 0.05
    """Initial step size of the scores (`dense`: of the weights), > 0. Paper: 0.008-0.3."""
    weight_decay: float = 5e-4
    """Fraction that a score (`dense`: weight) loses **per step**, not times the learning rate, [0, 1). Paper: 1e-4 to
    7e-4."""
    momentum: float = 0.9
    """Nesterov momentum, [0, 1). Paper: 0.9."""
    schedule: str = "exponential"
    """`exponential`: learning rate and decay times `decay_rate ** (epoch / decay_epochs)`; `plateau`: both times
    `plateau_factor` when the training loss stalls (paper: ResNets); or `constant`."""
    decay_rate: float = 0.9
    """Factor of the exponential schedule, (0, 1]. Paper: 0.9."""
    decay_epochs: float = 10.0
    """Epochs per factor of the exponential schedule, > 0, continuous in steps. Paper: 10 or 5."""
    plateau_patience: int = 15
    """Epochs without a new lowest training loss that count as a stall, >= 1. Paper: 15."""
    plateau_factor: float = 0.2
    """Factor of the plateau schedule, (0, 1]. Paper: 0.1-0.2."""
    plateau_reductions: int = 5
    """Reductions of the plateau schedule, >= 0; the next stall ends the training. Paper: 5-7."""
    epochs: int = 100
    """Passes over the training part, at most. Paper: 100."""
    batch_size: int = 128
    """Images per step. Paper: 128."""
    augmentation: str = "none"
    """`crop_flip`: zero-pad by 4, crop at random, flip at random (paper: ResNets); or `none`."""
    stem_norm: str = "fixed"
    """Whether the batch norm after a ResNet's first convolution has a `trained` gain and bias, or none (`fixed`)."""
    weight_init: str = "signed_constant"
    """Distribution of the frozen weights: `signed_constant` (paper), `constant`, `normal`, `uniform`."""
    weight_scale: str = "he"
    """Scale of the weights at gain 1: `he` sqrt(2 / fan_in) or `xavier` sqrt(2 / (fan_in + fan_out))."""
    gain_rule: str = "fixed"
    """Factor on the frozen weights, see `gain`: `fixed` is `weight_gain` (paper); `elu` and `elus` keep the variance of
    activations under ELU."""
    weight_gain: float = math.sqrt(1.5)
    """Factor on the frozen weights with `fixed`, > 0. Paper: sqrt(1.5), which is `elus` at a pruning rate of 0.5."""
    score_scale: str = "xavier"
    """Bound of the uniform initial scores at gain 1: `xavier` sqrt(6 / (fan_in + fan_out)) or `he` sqrt(6 / fan_in)."""
    score_gain: float = 1.0
    """Factor on the initial scores, > 0. Paper: 1."""
    seed: int = 0
    """Draws weights and scores, [0, 2**63)."""
    data_seed: int = 0
    """Draws the validation part and the order of the batches, the same for all trials of a sweep."""
    validation_fraction: float = 0.1
    """Part of the training set held out, (0, 0.9]; all choices are made on it."""

    def __post_init__(self) -> None:
        """Checks every field and reports all faults at once."""
        faults: list[str] = []
        for field in dataclasses.fields(self):
            rule, value = RULES[field.name], getattr(self, field.name)
            if rule.admits(value):
                object.__setattr__(self, field.name, rule.kind(value))
            else:
                faults.append(_fault(field.name, rule, value))
        faults = faults or [*_misplaced(self)]
        if faults:
            raise ConfigError("\n".join(faults))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Builds a configuration from plain values, e.g. a search space's sample.

        Args:
            values: Field names to values.

        Raises:
            ConfigError: On an unknown field (with the nearest legal one) or a broken rule.
        """
        unknown = [name for name in values if name not in RULES]
        if unknown:
            raise ConfigError("\n".join(_unknown(name) for name in unknown))
        return cls(**values)

    @property
    def gain(self) -> float:
        """Factor on the frozen weights: `weight_gain`, sqrt(0.75) for `elu`, sqrt(0.75 / kept fraction) for `elus`."""
        if self.gain_rule == "fixed":
            return self.weight_gain
        # `edge_popup` makes up for its hidden fraction by itself, see `supermask.methods.widened_scale`.
        hides = self.gain_rule == "elus" and self.method in MASKED_METHODS and self.method != "edge_popup"
        return math.sqrt(0.75 / (1.0 - self.pruning_rate if hides else 1.0))

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain Python values, in the order of the class."""
        return dict(vars(self))

    def structure(self) -> tuple[Any, ...]:
        """The values of the structural fields: two configs share a pack when these are equal."""
        return tuple(getattr(self, name) for name in STRUCTURAL)


def _misplaced(config: TrainConfig) -> Iterator[str]:
    """Fields that were given a value though what they belong to is not in use."""
    for name, (owner, values) in OWNERS.items():
        value, other = getattr(config, name), getattr(config, owner)
        if other not in values and value != getattr(TrainConfig, name):
            yield (
                f"TrainConfig.{name}: must be left out unless {owner} is {' or '.join(values)}, but got {value!r} with "
                f"{owner} {other!r}. Remove it."
            )


def _fault(name: str, rule: Rule, value: Any) -> str:
    message = f"TrainConfig.{name}: {rule.text(name)}, but got {value!r}."
    if isinstance(value, int | float) and not is_finite(value):
        return f"{message} Give a finite number."
    if not rule.has_kind(value):
        return f"{message} Give {_KIND_WORDS[rule.kind]}."
    if rule.choices:
        near = difflib.get_close_matches(str(value).lower(), rule.choices, n=1, cutoff=0.0)
        return f"{message} Did you mean {near[0]!r}?"
    if rule.kind is str:
        return f"{message} Give {_KIND_WORDS[str]}."
    return f"{message} Choose a value inside the range."


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, RULES, n=1, cutoff=0.0)
    return f"TrainConfig.{name}: no such field exists, but got a value for it. Did you mean {near[0]!r}?"


def check_lanes(configs: Sequence[TrainConfig], dataset: str) -> None:
    """Checks that configurations can be trained together on a dataset.

    Raises:
        ConfigError: If there are none, they differ in structure or name another dataset.
    """
    if not configs:
        raise ConfigError("pack: at least one configuration must be given, but got none. Pass one per lane.")
    first = configs[0]
    for lane, config in enumerate(configs):
        for name in STRUCTURAL:
            if getattr(config, name) != getattr(first, name):
                raise ConfigError(
                    f"pack: {name} must be equal for all lanes, but got {getattr(config, name)!r} in lane {lane} and "
                    f"{getattr(first, name)!r} in lane 0. Train them in separate packs."
                )
    if first.dataset != dataset:
        raise ConfigError(
            f"pack: the dataset must be the one the configurations name, {first.dataset!r}, but got {dataset!r}. "
            f"Pass supermask.data.load({first.dataset!r})."
        )
