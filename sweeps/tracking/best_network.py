"""The best network of a trial in MLflow: the one that alone has the largest hypervolume, within the constraints.

`sweeps.pareto.best_of_trials` finds it in a table of all networks, this module among the rows of one trial, which a
mirror takes bit by bit. Trials of a version that wrote no estimates have none: those that tables show of them depend on
all trials of their sweep.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sweeps import pareto
from sweeps.networks import NETWORKS
from sweeps.objectives import Objectives, judged_by
from sweeps.results import Table
from sweeps.store.columns import floats, integers
from sweeps.store.columns import rows as rows_of
from sweeps.tracking.backlog import News

Row = Mapping[str, Any]

PREFIX = "best_"
"""How the metrics of a trial's best network begin."""

_SHOWN = ("epoch", "estimate", "standard_error", "remaining")
_MOST_ROWS = 8
"""Networks of a trial in training that are kept until the best of them is looked for."""


@dataclass
class _Seen:
    """Networks of a trial in training, or the best of them.

    Attributes:
        rows: They.
        last: The trial's last epoch so far.
        classes: For how many classes the best was looked for; None while all are there.
    """

    rows: list[Row] = field(default_factory=list)
    last: int = 0
    classes: int | None = None


class BestNetworks:
    """Finds the best network of each trial, and keeps a few networks of each that is in training.

    Args:
        objectives: Of the sweep. The number of classes is the trial's own, once its row says it.
    """

    def __init__(self, objectives: Objectives) -> None:
        self._objectives, self._classes = objectives, objectives.classes
        self._seen: dict[int, _Seen] = {}

    def expect(self, classes: int | None) -> None:
        """Says how many classes a trial's dataset has; those of others most likely have as many."""
        self._classes = classes or self._classes

    def forget(self, trial: int) -> None:
        """Some rows of a trial were left out."""
        self._seen.pop(trial, None)

    def follow(self, news: News, *, since: int, last: int, is_whole: bool = False) -> bool:
        """Takes rows of a trial.

        Args:
            news: Its epochs after `since` up to `last`, maybe with earlier ones.
            since: The last epoch that was taken before.
            last: Its last epoch.
            is_whole: Whether these are all of its rows, even if some epoch is missing.

        Returns:
            Whether all networks of the trial are known now, so that `take` finds the best of them.
        """
        there = {row["epoch"] for row in news.epochs}
        earlier = self._seen.pop(news.trial, None)
        if is_whole or there.issuperset(range(1, last + 1)):
            earlier = _Seen()
        elif earlier is None or earlier.last != since or not there.issuperset(range(since + 1, last + 1)):
            return False
        seen = replace(earlier, rows=[*earlier.rows, *_networks(news.epochs)], last=last)
        if not news.ended and max(there, default=0) > last:
            return False  # an attempt that goes on from a checkpoint trains the epochs beyond it again
        if news.ended and seen.classes not in (None, self._classes_of(news)):
            return False
        if not news.ended and len(seen.rows) > _MOST_ROWS:
            best = best_of(seen.rows, replace(self._objectives, classes=self._classes))
            seen = replace(seen, rows=[best] if best else _unjudged(seen.rows)[:1], classes=self._classes)
        self._seen[news.trial] = seen
        return True

    def take(self, news: News) -> Row | None:
        """The best network of an ended trial; None if it has none. Call it after `follow` has taken all of them."""
        self.expect(self._classes_of(news))
        return best_of(self._seen.pop(news.trial).rows, replace(self._objectives, classes=self._classes_of(news)))

    def metrics(self, best: Row | None) -> dict[str, float]:
        """What the run of a trial holds of its best network."""
        return metrics_of(best, self._objectives)

    def _classes_of(self, news: News) -> int:
        return (news.ended or {}).get("classes") or self._objectives.classes


def best_of(networks: Sequence[Row], objectives: Objectives) -> Row | None:
    """The best of a trial's networks; None of none, or if one of them has no estimate."""
    by_epoch = {row["epoch"]: row for row in sorted(networks, key=lambda row: row["attempt"])}
    if not by_epoch or _unjudged(by_epoch.values()):
        return None
    table = Table.from_pylist([*by_epoch.values()], schema=NETWORKS)
    (best,) = pareto.best_of_trials(table, objectives).to_pylist()
    return best


def best_of_all(networks: Table, trials: Table, objectives: Objectives) -> dict[int, Row]:
    """The best network of each trial, by its number.

    Args:
        networks: From `sweeps.networks.load`, with estimates as they were written.
        trials: From `sweeps.results.load`.
        objectives: Of the sweep.
    """
    found, numbers = dict[int, Row](), integers(networks, "trial")
    unjudged = numbers[np.isnan(floats(networks, "estimate"))]
    networks = rows_of(networks, ~np.isin(numbers, unjudged)) if len(unjudged) else networks
    classes = [number or objectives.classes for number in trials.column("classes").to_pylist()]
    of_trial = dict(zip(trials.column("trial").to_pylist(), classes, strict=True))
    for number in set(classes):
        own = [trial for trial, its in of_trial.items() if its == number]
        table = rows_of(networks, np.isin(integers(networks, "trial"), own))
        best = pareto.best_of_trials(table, replace(objectives, classes=number))
        found |= {row["trial"]: row for row in best.to_pylist()}
    return found


def _unjudged(networks: Iterable[Row]) -> list[Row]:
    """The networks without an estimate."""
    return [row for row in networks if row["estimate"] is None]


def metrics_of(best: Row | None, objectives: Objectives) -> dict[str, float]:
    """The metrics of a trial's best network, by name: epoch, estimate and its standard error, objectives, remaining."""
    if best is None:
        return {}
    names = dict.fromkeys((*_SHOWN, *(judged_by(metric, ("estimate",)) for metric in objectives.directions)))
    return {PREFIX + name: best[name] for name in names if best[name] is not None}


def is_one(metric: str) -> bool:
    """Whether a metric of this name is about a trial's best network."""
    return metric.startswith(PREFIX)


def _networks(epochs: Iterable[Row]) -> list[Row]:
    """The networks among rows of epochs: of one in which the trial diverged there is none."""
    return [
        {name: row.get(name) for name in NETWORKS.names}
        for row in epochs
        if all(
            row[name] is not None and math.isfinite(row[name]) for name in ("train_loss", "val_loss", "val_accuracy")
        )
    ]
