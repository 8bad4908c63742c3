"""The durable Optuna study of a sweep: the truth about which trials exist and how they ended.

A trial's whole configuration is stored with it when it is asked, so that a later session can train it
again without asking anew.
"""

import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import RandomSampler
from optuna.storages import JournalStorage
from optuna.study import StudyDirection
from optuna.trial import FixedTrial, FrozenTrial, Trial, TrialState, create_trial

from search_spaces.space import SearchSpace
from supermask.config import RULES, TrainConfig
from sweeps.errors import SweepError
from sweeps.journal import Journal
from sweeps.sampling import Drawn, Sampling

CONFIG, ATTEMPT, RESULT = "config", "attempt", "result"
"""Names of the user attributes of an Optuna trial: its configuration, how often it was started, how it ended."""
METRICS = ("train_loss", "val_loss", "val_accuracy", "remaining", "inverted", "test_loss", "test_accuracy")
"""The final metrics of a trial, as stored in the study, in Parquet and in MLflow."""

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
    """Asks for trials and is told how they ended; may be used from several threads."""

    def __init__(self, space: SearchSpace, journal: Path) -> None:
        """Opens the study of a sweep, or creates it.

        Args:
            space: What may vary.
            journal: File of Optuna's journal storage.

        Raises:
            SweepError: If the file cannot be written, or is damaged.
        """
        self._space, self._seed = space, space.sampler.seed or 0
        self._lock = threading.RLock()
        try:
            self._journal = Journal(journal)
            self._storage = JournalStorage(self._journal)
            self._study = optuna.create_study(
                study_name=space.name,
                storage=self._storage,
                sampler=RandomSampler(),  # never asked: trials come from `Sampling`
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
        self._id = self._storage.get_study_id_from_name(space.name)
        # Optuna has no public way to a trial's number in its storage.
        self._open = {
            frozen.number: frozen._trial_id  # pyright: ignore[reportPrivateUsage]
            for frozen in self._trials(TrialState.RUNNING)
        }
        self._asked = len(self._trials())
        self._sampling = Sampling(space)

    @property
    def asked(self) -> int:
        """Number of trials sampled so far, ended or not."""
        return self._asked

    @property
    def first_open(self) -> int:
        """The lowest number of a trial that has not ended, or of the next one."""
        return min(self._open, default=self._asked)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is asked, started and told within goes to disk in one write at the end."""
        with self._lock, self._journal.together():
            yield

    def ask(self) -> AskedTrial:
        """Samples the next trial and stores it with its configuration."""
        with self._lock:
            number = self._asked
            drawn = self._sampling.draw(number, self._trials)
            config = TrainConfig.from_dict({"seed": self._seed * 1_000_000 + number} | drawn.values)
            self._add(drawn, config)
            return AskedTrial(number, config)

    def _add(self, drawn: Drawn, config: TrainConfig) -> None:
        trial = create_trial(
            state=TrialState.RUNNING,
            params=drawn.params,
            distributions=drawn.distributions,
            user_attrs={CONFIG: config.to_dict()},
            system_attrs=drawn.notes,
        )
        self._open[self._asked] = self._storage.create_new_trial(self._id, trial)
        self._asked += 1

    def restore(self, rows: Iterable[Mapping[str, Any]], attempts: Mapping[int, int]) -> None:
        """Takes over what Parquet knows and the study does not: a driver died in between, or the journal lost its end.

        A trial that ended is what its row says. One that the journal lost before it ended is sampled again.

        Args:
            rows: Trial rows as for `tell`, one per trial, with its configuration.
            attempts: How often each trial was started of which there is an epoch; may leave out trials that have ended.
        """
        ended = {row["trial"]: row for row in rows}
        with self.together():
            for number in range(self._asked, 1 + max((*ended, *attempts), default=-1)):
                if number in ended:
                    values = {name: ended[number][name] for name in RULES if ended[number][name] is not None}
                    known = FixedTrial(values)
                    self._space.suggest(known)
                    self._add(Drawn(values, known.params, known.distributions, {}), TrainConfig.from_dict(values))
                else:
                    self.ask()
            self.tell(ended.values())
            trials = [trial for trial in self.open_trials() if attempts.get(trial.number, 0) > trial.attempts]
            self.start({trial.number: attempts[trial.number] for trial in trials})

    def open_trials(self) -> list[AskedTrial]:
        """The trials that were asked and have not ended, by number."""
        with self._lock:
            return [
                AskedTrial(
                    frozen.number, TrainConfig.from_dict(frozen.user_attrs[CONFIG]), frozen.user_attrs.get(ATTEMPT, 0)
                )
                for frozen in self._trials(TrialState.RUNNING)
            ]

    def start(self, attempts: Mapping[int, int]) -> None:
        """Records that open trials are being trained, each for so many times, in one write."""
        with self.together():
            for number, attempt in attempts.items():
                self._storage.set_trial_user_attr(self._open[number], ATTEMPT, attempt)

    def tell(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Records how trials ended, in one write. Telling an ended trial again changes nothing.

        Args:
            rows: Trial rows as in `sweeps.results`: `trial`, `state`, `reason`, `attempt` and the final metrics.
        """
        with self.together():
            for row in rows:
                if row["trial"] in self._open:
                    self._tell(self._open.pop(row["trial"]), row)

    def _tell(self, trial_id: int, row: Mapping[str, Any]) -> None:
        self._sampling.renew()
        trial = Trial(self._study, trial_id)
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
        with self._lock:
            return [
                StudyTrial(
                    number=frozen.number,
                    state=_STATES.get(frozen.state, "waiting"),
                    config=frozen.user_attrs.get(CONFIG, {}),
                    values=list(frozen.values or []),
                    result=frozen.user_attrs.get(RESULT, {}),
                )
                for frozen in self._trials()
            ]

    def _trials(self, *states: TrialState) -> Sequence[FrozenTrial]:
        return self._storage.get_all_trials(self._id, deepcopy=False, states=states or None)
