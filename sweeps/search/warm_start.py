"""What a new sweep's sampler learns from the finished trials of another sweep.

They are copied into the new sweep's folder as `warm_start.json`, so that it is resumed with the same knowledge,
whatever happens to the other sweep. They are no trials of the new sweep: nothing but its sampler ever sees them.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from search_spaces.space import CategoricalDistribution, Distribution, SearchSpace
from supermask.config import TrainConfig
from sweeps import results
from sweeps.errors import SweepError
from sweeps.objectives import judged_value
from sweeps.results import CONFIG_COLUMNS
from sweeps.store.paths import replacing

LEARNING = ("tpe", "gp")
"""Samplers that take in trials they have not proposed themselves."""


@dataclass(frozen=True)
class Earlier:
    """A finished trial of another sweep, as one of the new search space.

    Attributes:
        trial: Its number there.
        params: What the new space searches.
        metrics: Its objectives, and what is bounded by a constraint.
    """

    trial: int
    params: dict[str, Any]
    metrics: dict[str, float]


@dataclass(frozen=True)
class WarmStart:
    """What is taken over.

    Attributes:
        sweep: Name of the other sweep.
        left_out: How many finished trials are not taken, by reason.
        trials: Those that are.
    """

    sweep: str
    left_out: dict[str, int]
    trials: tuple[Earlier, ...]

    def __str__(self) -> str:
        """In words, how many were taken, how many not, and why."""
        finished = len(self.trials) + sum(self.left_out.values())
        reasons = "; ".join(f"{count} not: {reason}" for reason, count in self.left_out.items())
        taken = f"warm start: {len(self.trials)} of {finished} finished trials of {self.sweep}"
        return f"{taken}; {reasons}" if reasons else taken


def collect(root: Path, name: str, space: SearchSpace) -> WarmStart:
    """The finished trials of a sweep that lie in a new space: fixed values equal, searched ones within their range.

    Args:
        root: The folder of all sweeps.
        name: The other sweep.
        space: Of the new one.

    Raises:
        SweepError: If there is no such sweep, none of its trials lies in the space, or the sampler learns from none.
    """
    if space.sampler.name not in LEARNING:
        raise SweepError(
            f"--warm-start: the sampler must be {' or '.join(LEARNING)} to learn from other trials, but it is "
            f"{space.sampler.name}. Add --set sampler.name=tpe, or leave --warm-start out."
        )
    taken: list[Earlier] = []
    reasons: Counter[str] = Counter()
    for row in results.load(root, name).to_pylist():
        if row["state"] == "finished":
            found = _as_one_of(space, row)
            if isinstance(found, str):
                reasons[found] += 1
            else:
                taken.append(found)
    if not taken:
        why = "; ".join(f"{count}: {reason}" for reason, count in reasons.most_common()) or "it has none"
        raise SweepError(
            f"--warm-start {name}: some finished trial must lie in the new search space, but none does ({why}). "
            "Widen the space, or leave --warm-start out."
        )
    return WarmStart(name, dict(reasons.most_common()), tuple(taken))


def write(path: Path, found: WarmStart) -> None:
    """Keeps it in the new sweep's folder."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(asdict(found), indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> WarmStart | None:
    """What `write` kept; None of a sweep that began without.

    Raises:
        SweepError: If the file is damaged.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        trials = tuple(Earlier(**trial) for trial in document["trials"])
        return WarmStart(document["sweep"], document["left_out"], trials)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise SweepError(
            f"{path}: must hold what the sampler learns from, but got: {error!r}. Restore the file, or remove it to go "
            "on without."
        ) from error


def _as_one_of(space: SearchSpace, row: Mapping[str, Any]) -> Earlier | str:
    """A trial row as a trial of a space, or why it is none."""
    own = TrainConfig.from_dict({name: row[name] for name in CONFIG_COLUMNS if row[name] is not None})
    params: dict[str, Any] = {}
    values: dict[str, Any] = dict(space.fixed)
    for name, parameter in space.parameters.items():
        if not parameter.exists(values):
            continue
        value = drawn_value(parameter.distribution, name, own)
        if value is None:
            return f"{name} lies outside of what is searched"
        params[name] = values[name] = value
    wanted = TrainConfig.from_dict({"seed": own.seed} | values)
    for name in CONFIG_COLUMNS:
        if getattr(own, name) != getattr(wanted, name):
            return f"{name} is {getattr(own, name)}, not {getattr(wanted, name)}"
    metrics = {bound.metric: judged_value(row, bound.metric) for bound in space.constraints}
    metrics |= {metric: judged_value(row, metric) for metric in space.objectives}
    missing = [name for name, value in metrics.items() if value is None or not math.isfinite(value)]
    return f"{missing[0]} is no number" if missing else Earlier(row["trial"], params, metrics)


def drawn_value(distribution: Distribution, name: str, own: TrainConfig) -> Any:
    """What must have been drawn for a trial to have its value; None if it could not have been drawn."""
    value = getattr(own, name)
    if isinstance(distribution, CategoricalDistribution):
        return value if value in distribution.choices else None
    if not distribution.low <= value <= distribution.high:
        return None
    steps = (value - distribution.low) / distribution.step if distribution.step else 0.0
    return value if math.isclose(steps, round(steps), abs_tol=1e-9) else None
