"""What driver and worker tell each other: an order to train a pack, and reports of how far its lanes are."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any

from supermask.config import TrainConfig
from supermask.metrics import LayerFractions
from sweeps.objectives import Claim, Key
from sweeps.results import Table, epochs_table
from sweeps.worker.checkpoints import Reached


@dataclass(frozen=True)
class Lane:
    """One trial in a pack.

    Attributes:
        trial: Its number in the study.
        attempt: Which start of the trial this is, from 1.
        config: What to train.
        epoch: Epochs that it is trained already.
        seconds: Time that these took.
        started: When they began; None while there are none.
        tested: Epochs after which the test set is read, beside the last one.
    """

    trial: int
    attempt: int
    config: TrainConfig
    epoch: int = 0
    seconds: float = 0.0
    started: datetime | None = None
    tested: frozenset[int] = frozenset()

    def again(self, reached: Reached | None) -> "Lane":
        """The lane after its training was cut off.

        Args:
            reached: How far its checkpoint goes; without one of this attempt, the trial starts again with its next
                attempt.
        """
        if reached is None or reached.attempt != self.attempt:
            return Lane(self.trial, self.attempt + 1, self.config, tested=self.tested)
        return replace(self, epoch=reached.epoch, seconds=reached.seconds, started=reached.started)

    @property
    def group(self) -> tuple[Any, ...]:
        """Lanes that are equal in this can be packed together."""
        return (self.epoch, *self.config.structure())


@dataclass(frozen=True)
class PackOrder:
    """Trials to train together.

    Attributes:
        number: Counts the packs of a sweep, from 0.
        lanes: The trials, equal in structure and epoch. A lane that starts after epoch 0 has a checkpoint.
        slots: Most trials of a pack.
        rivals: What a network must not be beaten by to be worth sending; None where nobody wants any.
    """

    number: int
    lanes: tuple[Lane, ...] = field(repr=False)  # Tune writes it into names of folders
    slots: int
    rivals: tuple[Claim, ...] | None = field(default=None, repr=False)

    @property
    def epoch(self) -> int:
        """Epochs that its trials are trained already."""
        return self.lanes[0].epoch


@dataclass(frozen=True)
class Place:
    """Where a pack trains, and since when.

    Attributes:
        host: Name of the machine.
        device: Name of the GPU, or `cpu`.
        dtype: Of the matrix products.
        started: When the worker took the pack.
        classes: Number of classes of its dataset.
        node: Ray's name of the machine; empty without Ray.
        is_fresh: Whether the worker process has trained no pack before.
    """

    host: str
    device: str
    dtype: str
    started: datetime
    classes: int
    node: str = ""
    is_fresh: bool = True

    @property
    def text(self) -> str:
        """For the display."""
        return f"{self.host} {self.device} {self.dtype}"


@dataclass(frozen=True, kw_only=True)
class EndedLane:
    """A trial that has ended: a row of `sweeps.results.TRIALS` as far as the worker knows it."""

    trial: int
    attempt: int
    state: str
    reason: str | None = None
    epochs_done: int
    train_loss: float
    val_loss: float
    val_accuracy: float
    estimate: float | None
    standard_error: float | None
    remaining: float
    inverted: float
    layers: tuple[LayerFractions, ...]
    test_loss: float | None = None
    test_accuracy: float | None = None
    ended: datetime
    seconds: float

    def to_row(self) -> dict[str, Any]:
        """The columns of the row."""
        row = {known.name: getattr(self, known.name) for known in fields(self)}
        return row | {"layers": layer_rows(self.layers)}


@dataclass(frozen=True)
class PausedLane:
    """A trial that waits for another pack; its checkpoint is in the store.

    It has passed a rung at which others of its pack were stopped, or its pack was preempted.

    Attributes:
        trial: Its number.
        epoch: Epochs trained.
        seconds: Time that these took.
    """

    trial: int
    epoch: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class PackReport:
    """What has happened to a pack since its last report.

    Attributes:
        pack: Its number.
        place: Where it trains, in its first report, before its first epoch.
        epochs: Rows of `sweeps.results.EPOCHS`, one per lane and epoch.
        epoch: The latest of these epochs.
        networks: Content of the artifacts of networks of these epochs that no rival beats, by trial and epoch.
        ended: Lanes that have ended.
        paused: Lanes that wait for another pack.
        keeps: Whether the next step begins with sending checkpoints: the epochs up to here must be on disk by then.
        unkept: Why a checkpoint could not be written.
        error: Why the whole pack broke.
        out_of_memory: Whether that was for want of memory.
        done: Whether the pack is over. One that hangs or has lost its GPU reports its error without being done: its
            process must end.
    """

    pack: int
    place: Place | None = None
    epochs: Table = field(default_factory=lambda: epochs_table([]))
    epoch: int = 0
    networks: Mapping[Key, bytes] = field(default_factory=dict, repr=False)
    ended: tuple[EndedLane, ...] = ()
    paused: tuple[PausedLane, ...] = ()
    keeps: bool = False
    unkept: str | None = None
    error: str | None = None
    out_of_memory: bool = False
    done: bool = False


def layer_rows(layers: Iterable[LayerFractions]) -> list[dict[str, Any]]:
    """The `layers` column of a trial or an epoch."""
    return [dict(vars(layer)) for layer in layers]
