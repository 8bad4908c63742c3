"""Where runs are kept: what is known of one of them, and what is asked of the place."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

ENDED = ("finished", "stopped", "failed")
"""States of trials that will not be trained on."""
CONFIRM = "confirm/"
"""How metrics of fresh seeds begin."""


@dataclass
class Run:
    """What a store holds of one run, what it is to be sent next included.

    Attributes:
        run_id: The store's name of the run.
        status: MLflow's word for its state.
        tags: What is known of it.
        params: Parameters as text, from which a float comes back exactly.
        latest: The last step and value of each metric.
        new_tags: The part of `tags` that is to be sent.
        new_params: The part of `params` that is to be sent.
        new_metrics: Points to be sent: metric, value, milliseconds, step.
    """

    run_id: str
    status: str = "RUNNING"
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    latest: dict[str, tuple[int, float]] = field(default_factory=dict)
    new_tags: dict[str, str] = field(default_factory=dict)
    new_params: dict[str, str] = field(default_factory=dict)
    new_metrics: list[tuple[str, float, int, int]] = field(default_factory=list)

    @property
    def attempt(self) -> int:
        """The attempt of its trial that it is about."""
        return int(self.tags.get("attempt", 1))

    @property
    def last(self) -> int:
        """The highest step of any metric; of confirmations steps count seeds, not epochs."""
        return max((step for name, (step, _) in self.latest.items() if not name.startswith(CONFIRM)), default=0)

    def differs(self, params: Mapping[str, str]) -> bool:
        """Whether a parameter has another value than one of `params`."""
        return any(self.params.get(name, value) != value for name, value in params.items())

    def contradicts(self, step: int, metrics: Mapping[str, float | None]) -> bool:
        """Whether it cannot end at `step` with `metrics` by adding to it."""
        there = {name: value for name, (at, value) in self.latest.items() if at == step}
        finite = {name: value for name, value in metrics.items() if value is not None and math.isfinite(value)}
        return self.last > step or any(there.get(name, value) != value for name, value in finite.items())

    def describe(self, tags: Mapping[str, str], params: Mapping[str, str]) -> None:
        """Takes tags that changed and parameters that are missing."""
        changed = {name: value for name, value in tags.items() if self.tags.get(name) != value}
        missing = {name: value for name, value in params.items() if name not in self.params}
        self.new_tags |= changed
        self.tags |= changed
        self.new_params |= missing
        self.params |= missing

    def restate(self, step: int, metrics: Mapping[str, float], stamp: int) -> None:
        """Takes values that may have changed since they were told of the same step."""
        for name, value in metrics.items():
            if self.latest.get(name) != (step, value):
                self.latest.pop(name, None)
                self.put(step, {name: value}, stamp)

    def put(self, step: int, metrics: Mapping[str, float | None], stamp: int) -> None:
        """Takes the values of a step, but for those it has."""
        for name, value in metrics.items():
            if value is None or self.latest.get(name, (-1, 0.0))[0] >= step:
                continue
            if math.isfinite(value):
                self.new_metrics.append((name, float(value), stamp, step))
                self.latest[name] = (step, float(value))
            else:
                known = set(self.tags.get("non_finite", "").split())
                self.describe({"non_finite": " ".join(sorted(known | {name}))}, {})


class Store(Protocol):
    """What is asked of the place where the runs are kept.

    Attributes:
        sweep_id: Whose runs these are: others of the place are neither found nor touched.
    """

    sweep_id: str

    def runs(self) -> Iterable[Run]:
        """The active runs of the sweep, oldest first."""
        ...

    def create(self, name: str, tags: Mapping[str, str], stamp: int) -> str:
        """Makes a run and returns its id."""
        ...

    def delete(self, run_id: str) -> None:
        """Makes a run inactive; its history can still be read."""
        ...

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """All steps and values of a metric, in order of the steps."""
        ...

    def send(self, run: Run, stamp: int) -> None:
        """Writes what is new in a run and the status that belongs to its state."""
        ...

    def untag(self, run_id: str, tag: str) -> None:
        """Removes a tag of a run."""
        ...

    def keep(self, run_id: str, path: Path) -> None:
        """Keeps a copy of a file, in place of an older one of its name."""
        ...

    def label(self, tags: Mapping[str, str]) -> None:
        """Gives the sweep as a whole these tags, beside those that it has."""
        ...
