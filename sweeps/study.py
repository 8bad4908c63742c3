"""The durable Optuna study of a sweep: the truth about which trials exist and how they ended.

A trial's whole configuration is stored with it when it is asked, so that a later session can train it
again without asking anew.
"""

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from search_spaces.space import SearchSpace
from supermask.config import TrainConfig
from sweeps.errors import SweepError

CONFIG, ATTEMPT, RESULT = "config", "attempt", "result"
"""Names of the user attributes of an Optuna trial: its configuration, how often it was started, how it ended."""
METRICS = ("train_loss", "val_loss", "val_accuracy", "remaining", "inverted", "test_loss", "test_accuracy")
"""The final metrics of a trial, as stored in the study, in Parquet and in MLflow."""

TORN_SECONDS = 2.0
"""Age from which a line without an end counts as torn."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class AskedTrial:
    """A trial that has been sampled and has not ended.

    Attributes:
        number: Its number in the study, from 0.
        config: What to train.
        attempts: How often its training was started.
    """

    number: int
    config: TrainConfig
    attempts: int = 0


@dataclass(frozen=True)
class StudyTrial:
    """A trial as the study knows it.

    Attributes:
        number: Its number, from 0.
        state: `finished`, `stopped`, `failed`, or `waiting` for one that has not ended.
        config: Field values of its `TrainConfig`.
        values: Objective values of a finished trial, in the order of the objectives.
        result: State, reason, attempt and final metrics of an ended trial.
    """

    number: int
    state: str
    config: dict[str, Any]
    values: list[float]
    result: dict[str, Any]


_STATES = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "stopped", TrialState.FAIL: "failed"}
_TOLD = {state: told for told, state in _STATES.items()}


class SweepStudy:
    """Asks for trials and is told how they ended."""

    def __init__(self, space: SearchSpace, journal: Path) -> None:
        """Opens the study of a sweep, or creates it.

        Args:
            space: What may vary.
            journal: File of Optuna's journal storage.

        Raises:
            SweepError: If the file cannot be written, or is damaged.
        """
        self._space = space
        self._seed = space.sampler.seed or 0
        try:
            _mend(journal)
            storage = JournalStorage(JournalFileBackend(str(journal)))
            self._study = optuna.create_study(
                study_name=space.name,
                storage=storage,
                directions=[StudyDirection[name.upper()] for name in space.objectives.values()],
                load_if_exists=True,
            )
        except OSError as error:
            raise SweepError(
                f"{journal}: the study must be readable and writable, but {error}. Check the folder's permissions."
            ) from error
        except ValueError as error:
            raise SweepError(
                f"{journal}: must be a journal of Optuna, but got: {error}. Restore the file from a copy."
            ) from error
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.set_metric_names(list(space.objectives))
        self._open = {
            frozen.number: self._reopened(frozen)
            for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        }
        self._asked = len(self._study.get_trials(deepcopy=False))
        self._study.sampler = _sampler(space, (self._seed, self._asked))

    @property
    def asked(self) -> int:
        """Number of trials sampled so far, ended or not."""
        return self._asked

    def ask(self) -> AskedTrial:
        """Samples the next trial and stores its configuration."""
        if self._space.sampler.name == "random":
            # Drawn from the trial's number alone: a sweep that was cut off draws the same trials as one that was not.
            self._study.sampler = _sampler(self._space, (self._seed, self._asked))
        trial = self._study.ask()
        self._open[trial.number] = trial
        self._asked += 1
        return AskedTrial(trial.number, self._describe(trial))

    def open_trials(self) -> list[AskedTrial]:
        """The trials that were asked and have not ended, by number."""
        return [
            AskedTrial(number, self._describe(trial), trial.user_attrs.get(ATTEMPT, 0))
            for number, trial in sorted(self._open.items())
        ]

    def start(self, number: int, attempt: int) -> None:
        """Records that an open trial is being trained for the `attempt`-th time."""
        self._open[number].set_user_attr(ATTEMPT, attempt)

    def tell(self, row: Mapping[str, Any]) -> None:
        """Records how a trial ended. Telling an ended trial again changes nothing.

        Args:
            row: A trial row as in `sweeps.results`: `trial`, `state`, `reason`, `attempt` and the final metrics.
        """
        trial = self._open.pop(row["trial"], None)
        if trial is None:
            return
        trial.set_user_attr(RESULT, {name: row[name] for name in ("state", "reason", "attempt", *METRICS)})
        told = _TOLD[row["state"]]
        if told is not TrialState.COMPLETE:
            self._study.tell(trial, state=told)
            return
        for constraint in self._space.constraints:
            trial.set_constraint(str(constraint), constraint.violation(row[constraint.metric]))
        self._study.tell(trial, [row[metric] for metric in self._space.objectives])

    def trials(self) -> list[StudyTrial]:
        """Every trial of the study, by number."""
        return [
            StudyTrial(
                number=frozen.number,
                state=_STATES.get(frozen.state, "waiting"),
                config=frozen.user_attrs.get(CONFIG, {}),
                values=list(frozen.values or []),
                result=frozen.user_attrs.get(RESULT, {}),
            )
            for frozen in self._study.get_trials(deepcopy=False)
        ]

    def _describe(self, trial: Trial) -> TrainConfig:
        """The trial's configuration: as stored, or sampled and stored now."""
        if stored := trial.user_attrs.get(CONFIG):
            return TrainConfig.from_dict(stored)
        values = self._space.suggest(trial)
        values.setdefault("seed", self._seed * 1_000_000 + trial.number)
        config = TrainConfig.from_dict(values)
        trial.set_user_attr(CONFIG, config.to_dict())
        return config

    def _reopened(self, frozen: FrozenTrial) -> Trial:
        # Optuna has no public way to go on with a trial of an earlier process but its constructor and this number.
        return Trial(self._study, frozen._trial_id)  # pyright: ignore[reportPrivateUsage]


def _mend(journal: Path) -> None:
    """Cuts off a last line that a crash or a full disk left unfinished: Optuna would refuse the whole file."""
    while journal.exists() and (end := journal.read_bytes()[-1:]) and end != b"\n":
        if time.time() - journal.stat().st_mtime < TORN_SECONDS:
            time.sleep(0.1)  # another process may be writing it
            continue
        with journal.open("r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


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
    """The first trials of a sweep with the `random` sampler, for a look at them; nothing is stored."""
    study = optuna.create_study(sampler=RandomSampler(seed=space.sampler.seed or 0))
    values = [space.suggest(study.ask()) for _ in range(count)]
    return [TrainConfig.from_dict({"seed": number} | value) for number, value in enumerate(values)]
