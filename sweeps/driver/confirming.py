"""Trainings with fresh seeds: which ones give the networks that are wanted, and what is written of them."""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from supermask.config import TrainConfig
from sweeps.confirmations import ConfirmationWriter
from sweeps.errors import SweepError
from sweeps.objectives import Key
from sweeps.results import CONFIG_COLUMNS, Table
from sweeps.search.study import AskedTrial
from sweeps.signals import deferred
from sweeps.worker.checkpoints import take_stock
from sweeps.worker.messages import Lane

MOST_SEEDS = 10_000
"""Seeds of a trial, at most."""

Row = dict[str, Any]
Goal = tuple[int, int, int]
"""A network with a fresh seed: trial, epoch and seed index."""
_PLACE = ("host", "device", "dtype", "commit", "started")
"""Columns that are known when a training starts."""
_METRICS = (
    "val_accuracy", "val_loss", "estimate", "standard_error", "test_accuracy", "test_loss", "remaining", "inverted"
)  # fmt: skip
_COPIED = (*_METRICS, "state", "reason", "epochs_done", "ended")
"""Columns of an epoch, or of the end of a training, that a network's row has as well."""


@dataclass(frozen=True)
class Training:
    """One trial with one fresh seed, trained for some of its networks.

    Attributes:
        trial: Its number in the sweep.
        seed_index: Which fresh seed, from 0.
        config: Of the trial, with that seed, for as many epochs as the largest of these networks has.
        epochs: Of the networks.
    """

    trial: int
    seed_index: int
    config: TrainConfig
    epochs: frozenset[int]

    @property
    def number(self) -> int:
        """What it is called while it is trained; the same whatever else is chosen, so that checkpoints fit."""
        return MOST_SEEDS * self.trial + self.seed_index


def trainings(
    chosen: Iterable[Mapping[str, Any]], seeds: Sequence[int], done: Collection[Goal] = frozenset()
) -> list[Training]:
    """What gives every chosen network with every seed: all trials of a seed before the next, a cut leaves whole seeds.

    Args:
        chosen: Rows of networks, see `sweeps.networks.with_trials`.
        seeds: Fresh seeds, by index.
        done: Not needed any more.
    """
    epochs: dict[int, list[int]] = {}
    configs: dict[int, TrainConfig] = {}
    for row in chosen:
        epochs.setdefault(row["trial"], []).append(row["epoch"])
        # A column that an older version did not write is null: that version's trials had the field's default.
        values = {name: row[name] for name in CONFIG_COLUMNS if row[name] is not None}
        configs.setdefault(row["trial"], TrainConfig.from_dict(values))
    found = list[Training]()
    for index, seed in enumerate(seeds):
        for trial, config in configs.items():
            missing = frozenset(epoch for epoch in epochs[trial] if (trial, epoch, index) not in done)
            if missing:
                fresh = dataclasses.replace(config, seed=seed, epochs=max(missing))
                found.append(Training(trial, index, fresh, missing))
    return found


def key_of(row: Mapping[str, Any]) -> Key:
    """The network of a row."""
    return row["trial"], row["epoch"]


def goal_of(row: Mapping[str, Any]) -> Goal:
    """What a row of `CONFIRMATIONS` is about."""
    return (*key_of(row), row["seed_index"])


def has_ended(row: Mapping[str, Any]) -> bool:
    """Whether training again would say the same: it finished or diverged, rather than lost its worker."""
    return row["state"] == "finished" or str(row["reason"]).startswith("diverged")


def lanes_of(missing: Iterable[Training], folder: Path) -> list[Lane]:
    """Trainings as they begin, or go on from the checkpoints that an earlier command left.

    Args:
        missing: The trainings.
        folder: Where checkpoints are kept; those of other trainings are removed.
    """
    kept = take_stock(folder, [AskedTrial(one.number, one.config) for one in missing], any_attempt=True)
    found = list[Lane]()
    for one in missing:
        reached = kept.get(one.number)
        lane = Lane(one.number, reached.attempt if reached else 0, one.config, tested=one.epochs)
        # Behind a network that is missing a checkpoint would never give it: such a training begins anew.
        found.append(lane.again(reached if reached and reached.epoch < min(one.epochs) else None))
    return found


class ConfirmationRecords:
    """Writes networks as their epochs end, and shows how far they are; compacts the files at the end.

    Args:
        missing: The trainings.
        lanes: As they begin.
        writer: Of the confirmations.
        console: For the progress.
        forget: Called with trainings that have ended: nobody needs their checkpoints.
    """

    def __init__(
        self,
        missing: Sequence[Training],
        lanes: Iterable[Lane],
        writer: ConfirmationWriter,
        console: Console,
        *,
        forget: Callable[[list[int]], None],
    ) -> None:
        self._trainings, self._writer, self._forget = {one.number: one for one in missing}, writer, forget
        self._left = {one.number: set(one.epochs) for one in missing}
        self._places: dict[int, Row] = {}
        self._seconds = {lane.trial: {lane.epoch: lane.seconds} for lane in lanes}
        """Time that each training took up to each of its epochs."""
        done = sum(epoch for took in self._seconds.values() for epoch in took)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._epochs = self._bar.add_task("epochs", total=sum(one.config.epochs for one in missing), completed=done)
        self._networks = self._bar.add_task("networks", total=sum(len(one.epochs) for one in missing))

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        with deferred(), suppress(SweepError):  # another process has taken over, or the disk is full: nothing is lost
            self._writer.compact()

    def started(self, rows: Sequence[Row]) -> None:
        """See `sweeps.driver.recorder.Records`."""
        self._places |= {row["trial"]: {name: row[name] for name in _PLACE} for row in rows}

    def waiting(self, lanes: Sequence[Lane]) -> None:
        """See `sweeps.driver.recorder.Records`."""

    def epochs(self, epochs: Table, networks: Mapping[Key, bytes], *, now: bool) -> None:  # noqa: ARG002
        """See `sweeps.driver.recorder.Records`; networks that were asked for are written at once.

        Raises:
            SweepError: If that cannot be done, or another process has taken over.
        """
        found = list[Row]()
        for row in epochs.select(["trial", "epoch", "seconds", "ended", *_METRICS]).to_pylist():
            number, epoch = row["trial"], row["epoch"]
            took = self._seconds[number]
            took[epoch] = took.get(epoch - 1, 0.0) + row["seconds"]
            # The epoch in which a training diverges is no network: the test set is not read after it.
            if epoch in self._left[number] and row["test_accuracy"] is not None:
                found.append(self._row(row, epoch) | {"state": "finished", "seconds": took[epoch]})
        self._write(found)
        self._bar.advance(self._epochs, len(epochs))

    def ended(self, rows: Sequence[Row]) -> None:
        """See `sweeps.driver.recorder.Records`; networks that a training did not come to are written at once.

        A training that finished before their epochs has come to the end of its schedule: it stays as it is.

        Raises:
            SweepError: If that cannot be done, or another process has taken over.
        """
        self.started(rows)
        unmeasured = dict.fromkeys(_METRICS)
        self._write([
            self._row(row, epoch) | {"seconds": row["seconds"]} | ({} if row["state"] == "finished" else unmeasured)
            for row in rows
            for epoch in sorted(self._left[row["trial"]])
        ])  # fmt: skip
        self._forget([row["trial"] for row in rows])
        cut = sum(self._trainings[row["trial"]].config.epochs - (row["epochs_done"] or 0) for row in rows)
        self._bar.advance(self._epochs, cut)

    def writing_failed(self, reason: str) -> None:
        """See `sweeps.driver.recorder.Records`; nothing is sampled here."""

    def _row(self, row: Row, epoch: int) -> Row:
        """A row of `CONFIRMATIONS` of a network, from that of its epoch or of its training's end."""
        training = self._trainings[row["trial"]]
        known = {name: row[name] for name in _COPIED if name in row}
        named = {"trial": training.trial, "epoch": epoch, "seed_index": training.seed_index}
        config = training.config.to_dict() | {"epochs": epoch}
        return {"epochs_done": epoch} | known | named | config | self._places[row["trial"]]

    def _write(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        self._writer.write(rows)
        for row in rows:
            self._left[MOST_SEEDS * row["trial"] + row["seed_index"]].discard(row["epoch"])
        self._bar.advance(self._networks, len(rows))
