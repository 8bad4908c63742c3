"""The durable Optuna study of a sweep: the truth about which trials exist and how they ended.

A trial's whole configuration is stored with it when it is asked, so that a later session can train it
again without asking anew.
"""

import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FixedTrial, FrozenTrial, Trial, TrialState, create_trial

from search_spaces.space import SearchSpace
from supermask.config import RULES, TrainConfig
from sweeps.errors import SweepError
from sweeps.objectives import Objectives, judged_value
from sweeps.results import BEST
from sweeps.search.database import Database
from sweeps.search.journal import Journal
from sweeps.search.sampling import Drawn, Sampling
from sweeps.search.study_place import Place
from sweeps.search.warm_start import Earlier, drawn_value

CONFIG, ATTEMPT, RESULT = "config", "attempt", "result"
"""Names of the user attributes of an Optuna trial: its configuration, how often it was started, how it ended."""
METRICS = (
    "train_loss",
    "val_loss",
    "val_accuracy",
    "estimate",
    "standard_error",
    "remaining",
    "inverted",
    "test_loss",
    "test_accuracy",
    *BEST,
)
"""The final metrics of a trial, as stored in the study, in Parquet and in MLflow."""


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
        started: When it was asked.
        ended: When the study was told of its end.
    """

    number: int
    state: str
    config: dict[str, Any]
    values: list[float]
    result: dict[str, Any]
    started: datetime | None = field(default=None, compare=False)
    ended: datetime | None = field(default=None, compare=False)


_STATES = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "stopped", TrialState.FAIL: "failed"}
_TOLD = {state: told for told, state in _STATES.items()}


class SweepStudy:
    """Asks for trials and is told how they ended; may be used from several threads, of which one asks."""

    def __init__(
        self,
        space: SearchSpace,
        place: Place,
        *,
        earlier: Sequence[Earlier] = (),
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Opens the study of a sweep, or creates it.

        Args:
            space: What may vary.
            place: File of Optuna's journal storage, or address of a database.
            earlier: Trials of another sweep that the sampler learns from.
            check: Raises a SweepError if this process may write no more; called before each write to a journal.

        Raises:
            SweepError: If the file cannot be written, or is damaged, or the database does not answer.
        """
        self._space, self._seed, self.place = space, space.sampler.seed, place
        self._lock = threading.RLock()
        try:
            self._backend = Database(place) if isinstance(place, str) else Journal(place, check=check)
            self._storage = self._backend.storage
            with self._backend.together():
                self._open_study()
        except OSError as error:
            remedy = "the server and who may use it" if isinstance(place, str) else "the folder's permissions"
            raise SweepError(
                f"{place}: the study must be readable and writable, but {error}. Check {remedy}."
            ) from error
        except ValueError as error:
            raise SweepError(
                f"{place}: must be a journal of Optuna, but got: {error}. Restore the file from a copy, or delete it: "
                "'sweeps resume' fills it again from Parquet."
            ) from error
        self._unsure = False  # whether the storage may hold trials that nobody was given
        self._starts: dict[int, int] = {}
        self._sampling = Sampling(space, earlier)

    def _open_study(self) -> None:
        names = list(self._space.objectives)
        sampler = RandomSampler()  # never asked: trials come from `Sampling`
        # Whoever only reads must write nothing: the journal belongs to the driver.
        try:
            self._study = optuna.load_study(study_name=self._space.name, storage=self._storage, sampler=sampler)
        except KeyError:
            directions = [StudyDirection[name.upper()] for name in self._space.objectives.values()]
            self._study = optuna.create_study(
                study_name=self._space.name, storage=self._storage, sampler=sampler, directions=directions
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if self._study.metric_names != names:
                self._study.set_metric_names(names)
        self._id = self._storage.get_study_id_from_name(self._space.name)
        self._open = {frozen.number: _id_of(frozen) for frozen in self._trials(TrialState.RUNNING)}
        self._asked = len(self._trials())

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
        """What is asked, started and told within goes to the journal in one write at the end; to a database, at once.

        Raises:
            OSError: If the disk or the database fails. What was to be told must be told again.
        """
        with self._lock, self._backend.together():
            yield

    def ask(self) -> AskedTrial:
        """Samples the next trial and stores it with its configuration.

        Whoever tells meanwhile does not wait for the sampler, unless this is done `together` with something else.

        Raises:
            OSError: If the disk or the database fails. Asking again gives the trial of the same number.
        """
        number = self._asked
        drawn = self._sampling.draw(number, self._trials)
        config = TrainConfig.from_dict({"seed": self._seed * 1_000_000 + number} | drawn.values)
        with self._lock:
            return self._add(drawn, config)

    def _add(self, drawn: Drawn, config: TrainConfig) -> AskedTrial:
        trial = create_trial(
            state=TrialState.RUNNING,
            params=drawn.params,
            distributions=drawn.distributions,
            user_attrs={CONFIG: config.to_dict()},
            system_attrs=drawn.notes,
        )
        number = self._asked
        stored = self._store(number, trial)
        self._open[number] = _id_of(stored)
        self._asked += 1
        return AskedTrial(number, TrainConfig.from_dict(stored.user_attrs[CONFIG]))

    def _store(self, number: int, trial: FrozenTrial) -> FrozenTrial:
        """The trial of this number in the storage, which an earlier call may have put there before it broke off."""
        if self._unsure and (found := self._stored(number)):
            return found
        self._unsure = True
        with self._backend.together():
            made = self._storage.get_trial(self._storage.create_new_trial(self._id, trial))
        # Optuna tries again on an error of a database by itself, even if that had taken the trial.
        self._unsure = made.number != number
        return (self._unsure and self._stored(number)) or made

    def _stored(self, number: int) -> FrozenTrial | None:
        return next((frozen for frozen in self._trials() if frozen.number == number), None)

    def restore(self, rows: Iterable[Mapping[str, Any]], attempts: Mapping[int, int]) -> None:
        """Takes over what Parquet knows and the study does not: a driver died in between, or the journal lost its end.

        A trial that ended is what its row says. One that the journal lost before it ended is sampled again.

        Args:
            rows: Trial rows as for `tell`, one per trial, with its configuration.
            attempts: How often each trial was started of which there is an epoch; may leave out trials that have ended.
        """
        ended, searched = {row["trial"]: row for row in rows}, self._space.parameters
        with self.together():
            for number in range(self._asked, 1 + max((*ended, *attempts), default=-1)):
                if number in ended:
                    values = {name: ended[number][name] for name in RULES if ended[number][name] is not None}
                    config = TrainConfig.from_dict(values)
                    drawn = {name: drawn_value(found.distribution, name, config) for name, found in searched.items()}
                    known = FixedTrial(values | drawn)
                    self._space.suggest(known)
                    self._add(Drawn(values, known.params, known.distributions, {}), config)
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
        """Records that open trials are being trained, each for so many times, in one write.

        Raises:
            OSError: If the disk or the database fails; the next call of this or of `tell` tries again.
        """
        with self.together():
            self._starts |= attempts
            self._note_starts()

    def _note_starts(self) -> None:
        for number in list(self._starts):
            if number in self._open:
                self._storage.set_trial_user_attr(self._open[number], ATTEMPT, self._starts[number])
            del self._starts[number]

    def tell(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Records how trials ended, in one write. Telling an ended trial again changes nothing.

        Args:
            rows: Trial rows as in `sweeps.results`: `trial`, `state`, `reason`, `attempt` and the final metrics.

        Raises:
            OSError: If the disk or the database fails; the rows must be told again.
        """
        with self.together():
            self._note_starts()
            for row in rows:
                if row["trial"] in self._open:
                    with suppress(UpdateFinishedTrialError):  # a database took it before its answer was lost
                        self._tell(self._open[row["trial"]], row)
                    del self._open[row["trial"]]

    def _tell(self, trial_id: int, row: Mapping[str, Any]) -> None:
        self._sampling.renew()
        trial = Trial(self._study, trial_id)
        trial.set_user_attr(RESULT, {name: row[name] for name in ("state", "reason", "attempt", *METRICS)})
        told = _TOLD[row["state"]]
        if told is not TrialState.COMPLETE:
            self._study.tell(trial, state=told)
            return
        for constraint in self._space.constraints:
            trial.set_constraint(str(constraint), constraint.violation(judged_value(row, constraint.metric)))
        self._study.tell(trial, told_values(row, self._space))

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
                    started=_utc(frozen.datetime_start),
                    ended=_utc(frozen.datetime_complete),
                )
                for frozen in self._trials()
            ]

    def _trials(self, *states: TrialState) -> Sequence[FrozenTrial]:
        with self.together():
            return self._storage.get_all_trials(self._id, deepcopy=False, states=states or None)


def told_values(row: Mapping[str, Any], space: SearchSpace) -> list[float]:
    """What the study is told of a finished trial: the metrics that its last network is judged by, on their scales."""
    objectives = Objectives.of(space)
    return [objectives.scaled_value(metric, judged_value(row, metric)) for metric in space.objectives]


def _id_of(frozen: FrozenTrial) -> int:
    # Optuna has no public way to a trial's number in its storage.
    return frozen._trial_id  # pyright: ignore[reportPrivateUsage]


def _utc(moment: datetime | None) -> datetime | None:
    """Optuna's times are local and do not say so."""
    return moment and moment.astimezone(UTC)
