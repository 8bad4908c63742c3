"""Recommends a network: which one, at which pruning rate, and the next commands."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from search_spaces.space import Constraint, SearchSpace
from sweeps import pareto
from sweeps.analysis.confirmed import SUMMARISED, Confirmed, summarise
from sweeps.networks import SHOWN, with_trials
from sweeps.objectives import ACCURACIES, Key, Objectives, judged_value, network_name
from sweeps.pareto import Table, judged, values
from sweeps.results import CONFIG_COLUMNS
from sweeps.store.columns import integers, rows, without_moments

NEAR = 0.1
"""Tolerance of near-equal trials in each objective, as a fraction of its span over the front."""
ENOUGH = 5
"""Minimum number of near-equal trials from which to say whether the pruning rate matters."""
SEEDS = 10
_METRICS = ("estimate", "standard_error", "val_accuracy", "remaining", "inverted", "test_accuracy")


@dataclass(frozen=True)
class Recommendation:
    """The recommended network, with the evidence for it.

    Attributes:
        key: Its trial and epoch.
        config: What to train for it.
        metrics: What the sweep measured of it, one seed: objectives, accuracies, remaining and inverted weights, and
            the estimate that it is judged by with its standard error.
        confirmed: Its means and intervals on the test set over fresh seeds, if it is confirmed.
        rule: Why this one, in words.
        pruning_rate: Its pruning rate; None of a method that prunes nothing.
        pruning_rates: Least and greatest pruning rate of the near-equal trials, itself among them; likewise None.
        near: How many trials have a near-equal network, its own among them.
        rate_matters: Whether the near-equal trials agree on the pruning rate to half of the range that was searched.
        commands: What to do next: `confirm` it, `train` it again, `export` it.
    """

    key: Key
    config: dict[str, Any]
    metrics: dict[str, float | None]
    confirmed: Confirmed | None
    rule: str
    pruning_rate: float | None
    pruning_rates: tuple[float, float] | None
    near: int
    rate_matters: bool
    commands: dict[str, str]

    @property
    def name(self) -> str:
        """How it is written: `TRIAL@EPOCH`."""
        return network_name(self.key)

    @property
    def confirmed_by_several(self) -> Confirmed | None:
        """`confirmed`, if by two seeds or more: one alone has no interval."""
        return self.confirmed if self.confirmed and self.confirmed.test_accuracy.low is not None else None

    @property
    def spread(self) -> str:
        """Range of pruning rates of the near-equal trials, in words; empty for a single one."""
        if self.pruning_rates is None or self.near < 2:
            return ""
        low, high = self.pruning_rates
        hardly = "" if self.rate_matters or self.near < ENOUGH else ": it hardly matters here, the other parameters do"
        return f"{low:.2f} to {high:.2f} in {self.near} near-equal trials{hardly}"


def recommend(
    networks: Table,
    trials: Table,
    space: SearchSpace,
    confirmations: Table | None = None,
    *,
    asked: Sequence[Constraint] = (),
) -> Recommendation | None:
    """Recommends the knee of the front of the networks that keep to the space's constraints.

    The knee needs no guess of how far single runs scatter, which a sweep of one seed a trial cannot tell: beyond it
    accuracy falls fast, before it weights are kept that buy little. Who asks for a certain accuracy gets the smallest
    network that has it, who asks for a size the most accurate one of it. Of one objective it is the best network, of
    more than two the knee of the first two. Near-equal are networks that keep to the constraints and are no more than
    `NEAR` of the front's span worse in either objective, on its scale. Chosen by estimates from the validation part;
    confirmations, on the test set, only say how sure it is.

    Args:
        networks: From `sweeps.networks.load`.
        trials: From `sweeps.results.load`, running ones included.
        space: Of the sweep; its name stands in the commands.
        confirmations: From `sweeps.confirmations.load`, if there are any.
        asked: Further bounds, of the question. If they bound all objectives but one, the best in that one is it; of a
            bound on accuracy alone it is the smallest network, and of one on remaining weights the most accurate one,
            whatever the objectives are.

    Returns:
        None while no network keeps to the constraints.

    Raises:
        SweepError: If an objective is no column.
    """
    of_all = Objectives.of(space)
    paired = len(space.objectives) > 1 and [bound.metric in SHOWN for bound in asked] == [True]
    objectives = replace(of_all, directions=SHOWN if paired else dict([*space.objectives.items()][:2]))
    bounds = (*space.constraints, *asked)
    candidates = pareto.feasible(networks, bounds)
    front = with_trials(pareto.front(candidates, objectives), trials)
    if not front.num_rows:
        return None
    sought = [metric for metric in objectives.directions if metric not in {bound.metric for bound in asked}]
    if len(objectives.directions) == 1:
        sought = [*objectives.directions]  # the best is the best, bounded or not
    best = _best_of(front, objectives, sought[0]) if len(sought) == 1 else pareto.knee(front, objectives)
    (row,) = without_moments(best).to_pylist()
    near = np.unique(integers(candidates, "trial")[_near(candidates, front, best, objectives)])
    rates = values(rows(trials, np.isin(integers(trials, "trial"), near)), "pruning_rate")
    prunes = row["method"] != "dense" and np.isfinite(rates).any()
    key = row["trial"], row["epoch"]
    name, metrics = f"{space.name}:{network_name(key)}", dict.fromkeys((*_METRICS, *space.objectives))
    found = summarise(confirmations.select(SUMMARISED).to_pylist()) if confirmations is not None else []
    return Recommendation(
        key=key,
        config={field: row[field] for field in CONFIG_COLUMNS},
        metrics={metric: row[metric] for metric in metrics},
        confirmed=next((one for one in found if one.key == key and one.seeds), None),
        rule=_rule(front, objectives, sought, bounds),
        pruning_rate=row["pruning_rate"] if prunes else None,
        pruning_rates=(float(np.nanmin(rates)), float(np.nanmax(rates))) if prunes else None,
        near=len(near),
        rate_matters=_agree(rates, space),
        commands={
            "confirm": f"sweeps confirm {space.name} --select {network_name(key)} --seeds {SEEDS}",
            "train": f"sweeps train {name}",
            "export": f"sweeps export {name} --to torch",
            **_more_accuracy(front, row, space.name),
        },
    )


def _more_accuracy(front: Table, row: Mapping[str, Any], name: str) -> dict[str, str]:
    """The command that asks for the smallest network of more accuracy than a recommended one has, if there is any."""
    most = math.floor(100 * float(np.nanmax(judged(front, "val_accuracy")))) / 100
    return {"ask": f"sweeps pareto {name} --min accuracy={most:g}"} if most > judged_value(row, "val_accuracy") else {}


def line(found: Recommendation, root_option: str = "") -> str:
    """The recommendation in one line; `root_option` is that of `sweeps.store.paths.SweepPaths`."""
    if confirmed := found.confirmed_by_several:
        accuracy, remaining = confirmed.test_accuracy, confirmed.remaining
        low, high, mean, left = (100 * (x or 0.0) for x in (accuracy.low, accuracy.high, accuracy.mean, remaining.mean))
        numbers = f"{mean:.2f} % [{low:.2f}, {high:.2f}] test accuracy at {left:.2f} % remaining, "
        numbers += f"{confirmed.seeds} fresh seeds"
        then = f"export it: {found.commands['export']}{root_option}"
    else:
        expected, error, left = (found.metrics[name] for name in ("estimate", "standard_error", "remaining"))
        numbers = "" if expected is None else f"expected accuracy {100 * expected:.2f} ± {100 * (error or 0):.2f} %, "
        numbers += f"remaining {100 * (left or 0):.2f} %"
        then = f"one seed; confirm it: {found.commands['confirm']}{root_option}"
    rate = ""
    if found.pruning_rate is not None:
        rate = f"initial pruning rate {found.pruning_rate:.2f}{f' ({found.spread})' if found.spread else ''}, "
    return f"recommended: network {found.name}, {rate}{numbers}; {then}"


def _best_of(front: Table, objectives: Objectives, metric: str) -> Table:
    return front.slice(int(np.argmin(objectives.sign(metric) * judged(front, metric))), 1)


def _agree(rates: np.ndarray, space: SearchSpace) -> bool:
    searched = space.parameters.get("pruning_rate")
    low, high = (getattr(searched and searched.distribution, bound, None) for bound in ("low", "high"))
    if low is None or high is None or not np.isfinite(rates).any():
        return True
    return bool(np.nanmax(rates) - np.nanmin(rates) <= (high - low) / 2)


def _near(candidates: Table, front: Table, best: Table, objectives: Objectives) -> np.ndarray:
    """Mask of the near-equal networks, of shape [network]."""
    near = np.ones(candidates.num_rows, dtype=bool)
    sides = (_costs(table, objectives) for table in (candidates, front, best))
    for of_all, of_front, of_best in zip(*sides, strict=True):
        known = of_front[np.isfinite(of_front)]
        near &= of_all <= of_best + NEAR * (np.ptp(known) if len(known) else 0.0)
    return near


def _costs(table: Table, objectives: Objectives) -> np.ndarray:
    """Costs, of shape [objective, network]."""
    return objectives.cost_array(lambda metric: judged(table, metric)).T


def _rule(front: Table, objectives: Objectives, sought: Sequence[str], bounds: Sequence[Constraint]) -> str:
    within = f" of the networks with {', '.join(map(str, bounds))}" if bounds else ""
    if len(sought) == 1:
        return f"{_best_in_words(objectives, sought[0])}{within}"
    if not pareto.has_knee(front, objectives):
        return (
            f"{_best_in_words(objectives, next(iter(objectives.directions)))} of the front{within}, which has no knee"
        )
    beyond = "a little more of one objective costs much of the other"
    if any(objectives.directions == {name: "maximize", "remaining": "minimize"} for name in ACCURACIES):
        beyond = "fewer weights cost accuracy fast"
    return f"knee of the front{within}: beyond it, {beyond}"


def _best_in_words(objectives: Objectives, metric: str) -> str:
    return f"{'greatest' if objectives.sign(metric) < 0 else 'least'} {metric}"
