"""Samples the next trials from the ended ones, at a cost that does not grow with their number.

Optuna's samplers read every trial of a study again for each new one: at 10,000 trials, a pack of 64 takes TPE many
seconds. They are shown a study in memory instead, which holds a bounded choice of the finished trials. Stopped ones are
left out: of several objectives TPE takes each as a bad end, though most would have been good ones had better ones not
come before, and so turns away from where they lie.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FixedTrial, FrozenTrial, TrialState, create_trial

from search_spaces.designs import Point, design_of
from search_spaces.space import SearchSpace
from supermask.config import TrainConfig
from sweeps.objectives import Objectives
from sweeps.search.halving import best_first
from sweeps.search.warm_start import Earlier

optuna.logging.set_verbosity(optuna.logging.WARNING)  # a line for each study in memory tells a user nothing

SHOWN = {"random": 0, "tpe": 400, "nsga2": 400, "gp": 100}
"""Most finished trials that each sampler is shown: half of them the best, a quarter the newest, the rest by chance."""

History = Callable[[], Sequence[FrozenTrial]]


@dataclass(frozen=True)
class Drawn:
    """A sampled trial.

    Attributes:
        values: Of every field that is not at its default.
        params: What Optuna sampled.
        distributions: From where.
        notes: What the sampler wants to find again with the trial.
    """

    values: dict[str, Any]
    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]
    notes: dict[str, Any]


class Sampling:
    """The sampler of a sweep. The same seed and the same trials before give the same next one, in any process.

    One thread draws; others may say meanwhile that a trial has ended.
    """

    def __init__(self, space: SearchSpace, earlier: Sequence[Earlier] = ()) -> None:
        """Nothing is read before the first trial is drawn.

        Args:
            space: What may vary.
            earlier: Trials of another sweep to learn from.
        """
        self._space, self._seed, self._design = space, space.sampler.seed, design_of(space)
        self._earlier = [_finished(space, one) for one in earlier]
        self._study: optuna.Study | None = None
        self._ended = self._known = 0

    def renew(self) -> None:
        """A trial has ended: the next one is drawn with the knowledge of it."""
        self._ended += 1

    def draw(self, number: int, history: History) -> Drawn:
        """Samples a trial.

        Args:
            number: Of the trial, which is how many were sampled before.
            history: Gives all trials, ended and running; called only after `renew`.
        """
        if self._design:
            return _designed(self._space, self._design.point(number))
        ended = self._ended  # before the history is read: what ends meanwhile may be missing there
        if self._study is None or self._known != ended or self._space.sampler.name == "random":
            # A random trial follows from its number alone: a sweep that was cut off draws as one that was not.
            self._study, self._known = self._shown(number, history), ended
        trial = self._study.ask()
        values = self._space.suggest(trial)
        notes = self._study.get_trials(deepcopy=False)[trial.number].system_attrs
        return Drawn(values, trial.params, trial.distributions, dict(notes))

    def _shown(self, number: int, history: History) -> optuna.Study:
        study = optuna.create_study(
            sampler=_sampler(self._space, (self._seed, number)),
            directions=[StudyDirection[name.upper()] for name in self._space.objectives.values()],
        )
        limit = SHOWN[self._space.sampler.name]
        if limit:
            trials = history()
            running = [_open_copy(trial) for trial in trials if trial.state is TrialState.RUNNING]
            finished = [trial for trial in trials if trial.state is TrialState.COMPLETE]
            random = np.random.default_rng((self._seed, number))
            known = [*self._earlier, *finished]
            study.add_trials([*choose(known, self._space.objectives, limit, random), *running])
        return study


def _designed(space: SearchSpace, point: Point) -> Drawn:
    trial = FixedTrial(point)
    values = space.suggest(trial)
    return Drawn(values, trial.params, trial.distributions, {})


def choose(
    finished: Sequence[FrozenTrial], objectives: Mapping[str, str], limit: int, random: np.random.Generator
) -> list[FrozenTrial]:
    """The trials that a sampler is shown, in their order.

    Args:
        finished: All finished trials.
        objectives: Metrics to `maximize` or `minimize`, in the order of the trials' values.
        limit: Most trials to choose: half the best, a quarter the newest, the others by chance.
        random: Decides these.
    """
    if len(finished) <= limit:
        return list(finished)
    best = _best_first(finished, objectives)[: limit // 2]
    newest = range(len(finished) - limit // 4, len(finished))
    chosen = {*best, *newest}
    others = np.setdiff1d(np.arange(len(finished)), list(chosen))
    chosen.update(random.choice(others, min(limit - len(chosen), len(others)), replace=False).tolist())
    return [finished[place] for place in sorted(chosen)]


def _best_first(finished: Sequence[FrozenTrial], objectives: Mapping[str, str]) -> list[int]:
    """Places of the trials, as at a rung."""
    missed = [sum(max(0.0, by) for by in trial.constraints.values()) for trial in finished]
    costs = np.array([trial.values for trial in finished]) * Objectives(objectives).signs
    return best_first(np.column_stack([missed, costs]))


def _finished(space: SearchSpace, earlier: Earlier) -> FrozenTrial:
    return create_trial(
        params=earlier.params,
        distributions={name: space.parameters[name].distribution for name in earlier.params},
        values=[Objectives.of(space).scaled_value(metric, earlier.metrics[metric]) for metric in space.objectives],
        constraints={str(bound): bound.violation(earlier.metrics[bound.metric]) for bound in space.constraints},
    )


def _open_copy(trial: FrozenTrial) -> FrozenTrial:
    return create_trial(
        state=TrialState.RUNNING,
        params=trial.params,
        distributions=trial.distributions,
        system_attrs=trial.system_attrs,
    )


def _sampler(space: SearchSpace, seed: tuple[int, int]) -> BaseSampler:
    """The sampler that a space names; the seed is the sweep's and the number of trials asked before."""
    number = int(np.random.SeedSequence(seed).generate_state(1)[0])
    with warnings.catch_warnings():
        # Multivariate TPE and GP are marked experimental; the constraints file pins the version they were tested in.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match space.sampler.name:
            case "random":
                return RandomSampler(seed=number)
            case "nsga2":
                return NSGAIISampler(seed=number)
            case "gp":
                return GPSampler(seed=number)
            case _:
                conditional = any(parameter.when for parameter in space.parameters.values())
                return TPESampler(seed=number, multivariate=True, group=conditional, constant_liar=True)


def sample(space: SearchSpace, count: int) -> list[TrainConfig]:
    """The first trials of a sweep that follows a design, or has the `random` sampler; nothing is stored."""
    study, design = optuna.create_study(sampler=RandomSampler(seed=space.sampler.seed)), design_of(space)
    values = [
        _designed(space, design.point(number)).values if design else space.suggest(study.ask())
        for number in range(count)
    ]
    return [TrainConfig.from_dict({"seed": number} | value) for number, value in enumerate(values)]
