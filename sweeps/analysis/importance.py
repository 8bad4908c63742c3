"""Parameter importance by PED-ANOVA.

Watanabe, Bansal and Hutter, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces",
IJCAI 2023, arXiv 2304.10255; of conditional parameters arXiv 2601.20800; as `optuna.importance` has them. A parameter
matters as far as its values among the best tenth of the trials are distributed otherwise than among all of them.
"""

import math
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from search_spaces.space import Distribution, SearchSpace
from sweeps.analysis.searched import column, present
from sweeps.objectives import Objectives
from sweeps.pareto import Table, finished, judged
from sweeps.store.columns import rows

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

HYPERVOLUME = "hypervolume"
"""Target name for all objectives together."""
FEWEST_TRIALS = 50
"""Minimum number of trials: the best tenth of fewer has less than the five trials that Optuna asks for."""
MOST_TRIALS = 5000
"""Maximum number of trials; of more, a fixed subsample, enough for the order of the parameters."""


def importance(networks: Table, space: SearchSpace) -> Table:
    """The importance of every searched parameter for each objective and for the hypervolume.

    For an objective the best tenth are the trials best in it. For the hypervolume they are those of the first fronts
    by non-dominated sorting; of the front that is cut, those whose hypervolume together is largest. It is left out
    of a single objective, where it would say the same.

    Args:
        networks: One of each trial with its configuration, see `sweeps.pareto.best_of_trials` and
            `sweeps.networks.with_trials`; those with finite objectives count.
        space: Says what was searched, when, and what is good.

    Returns:
        The columns `target`, `parameter` and `importance`, most important first; the importances of a target sum to
        1. A target in which the trials do not differ has no rows; nor has any with fewer than `FEWEST_TRIALS` trials.
        A parameter that always had the same value has importance 0.
    """
    chosen = finished(networks)
    costs = Objectives.of(space).cost_array(lambda metric: judged(chosen, metric))
    known = np.flatnonzero(np.isfinite(costs).all(axis=1))
    if len(known) > MOST_TRIALS:
        known = np.sort(np.random.default_rng(0).choice(known, MOST_TRIALS, replace=False))
    names = [name for name in space.parameters if name in chosen.column_names]
    found = list[tuple[str, str, float]]()
    if len(known) >= FEWEST_TRIALS and names:
        of_metric = dict(zip(space.objectives, costs[known].T, strict=True))
        found = [*_shares_of_all(of_metric, rows(chosen, known), space, names)]
    target, parameter, share = zip(*found, strict=True) if found else ((), (), ())
    columns = {"target": target, "parameter": parameter, "importance": np.array(share, dtype=float)}
    return Table.from_pydict(columns) if found else _EMPTY


_EMPTY = Table.from_pylist([{"target": "", "parameter": "", "importance": 0.0}]).slice(0, 0)


def _shares_of_all(
    costs: dict[str, np.ndarray], trials: Table, space: SearchSpace, names: list[str]
) -> Iterator[tuple[str, str, float]]:
    study = _study(costs, trials, space, names)
    single = len(costs) == 1
    for place, (metric, cost) in enumerate(costs.items()):
        if np.ptp(cost) > 0:
            yield from _shares(study, metric, names, place)
    if not single and any(np.ptp(cost) > 0 for cost in costs.values()):
        yield from _shares(study, HYPERVOLUME, names, None)


def _shares(study: "Study", target: str, names: list[str], place: int | None) -> Iterator[tuple[str, str, float]]:
    from optuna.importance import PedAnovaImportanceEvaluator

    def cost(trial: "FrozenTrial") -> float:
        return trial.values[place or 0]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # That less is better is meant; a target without a best tenth has no rows.
        found = PedAnovaImportanceEvaluator().evaluate(study, names, target=None if place is None else cost)
    total = math.fsum(found.values())
    if total > 0:
        yield from ((target, name, found[name] / total) for name in sorted(names, key=lambda name: -found[name]))


def _study(costs: dict[str, np.ndarray], trials: Table, space: SearchSpace, names: list[str]) -> "Study":
    """An in-memory study of the trials."""
    import optuna
    from optuna.study import StudyDirection
    from optuna.trial import create_trial

    params: list[dict[str, Any]] = [{} for _ in range(trials.num_rows)]
    distributions: list[dict[str, Distribution]] = [{} for _ in range(trials.num_rows)]
    for name in names:
        has = np.flatnonzero(present(trials, space, name))
        held = column(trials, name)[has].tolist()
        distribution = _distribution(space.parameters[name].distribution, held)
        for row, value in zip(has.tolist(), held, strict=True):
            params[row][name], distributions[row][name] = value, distribution
    objectives = zip(*(cost.tolist() for cost in costs.values()), strict=True)
    frozen = [
        create_trial(values=list(value), params=own, distributions=dict(where))
        for value, own, where in zip(objectives, params, distributions, strict=True)
    ]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=[StudyDirection.MINIMIZE] * len(costs))
    study.add_trials(frozen)
    return study


def _distribution(searched: Distribution, held: list[Any]) -> Distribution:
    """Where values came from, which a space that was changed since may not have."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(searched, CategoricalDistribution):
        legal = all(value in searched.choices for value in set(held))
    else:
        legal = not held or (searched.low <= min(held) and max(held) <= searched.high)
    if legal:
        return searched
    numeric = all(isinstance(value, int | float) for value in held)
    return FloatDistribution(min(held), max(held)) if numeric else CategoricalDistribution(sorted(set(held)))
