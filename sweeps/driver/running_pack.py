"""A pack in training, as the driver knows it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from supermask.metrics import RECORDED
from sweeps.results import BEST, RUNNING, Table, of_trials
from sweeps.worker.messages import Lane, PackOrder, Place

Row = dict[str, Any]
_NOTHING: Row = {
    "epochs_done": 0,
    **dict.fromkeys((*RECORDED, "estimate", "standard_error", "test_loss", "test_accuracy", *BEST, "seconds")),
    **dict.fromkeys(("layers", "host", "device", "dtype", "classes")),
}
"""A trial row of which nothing is known yet."""


@dataclass
class RunningPack:
    """A pack in training.

    Attributes:
        order: Its trials.
        open: Its lanes that have not ended, by trial.
        place: Where it trains; None while it waits for a worker.
        begun: When it began to train, in seconds of a monotonic clock; None while it waits for a worker.
        preempted: Whether it is to write its checkpoints and end.
        handed_out: When it was handed out.
        epoch: The latest epoch reported; before that the one it goes on from.
        latest: The epoch rows of the last report that had some.
    """

    order: PackOrder
    open: dict[int, Lane]
    place: Place | None = None
    begun: float | None = None
    preempted: bool = False
    handed_out: datetime = field(default_factory=lambda: datetime.now(UTC))
    epoch: int = field(init=False)
    latest: Table | None = None

    def __post_init__(self) -> None:
        """Numbers the lanes."""
        self.epoch = self.order.epoch
        self._places = {lane.trial: place for place, lane in enumerate(self.order.lanes)}

    @property
    def started(self) -> datetime:
        """When a worker took it, or, while it waits for one, when it was handed out."""
        return self.place.started if self.place else self.handed_out

    @property
    def node(self) -> str:
        """Ray's name of its machine; empty until it has begun."""
        return self.place.node if self.place else ""

    @property
    def is_fresh(self) -> bool:
        """Whether its worker was started for it."""
        return self.place is not None and self.place.is_fresh

    @property
    def _columns(self) -> Row:
        """Where it trains, as a trial's row says it."""
        place = self.place
        return {name: getattr(place, name) for name in ("host", "device", "dtype", "classes")} if place else {}

    def reached(self, lane: Lane) -> Row:
        """How far a lane has come that never ends: its epochs, and its metrics after the last one."""
        rows = of_trials(self.latest, [lane.trial]).to_pylist() if self.latest is not None else []
        last = max(rows, key=lambda row: row["epoch"], default=None)
        if last is None:
            return {"epochs_done": lane.epoch}
        return {"epochs_done": last["epoch"]} | {
            name: last[name] for name in (*RECORDED, "estimate", "standard_error", "layers")
        }

    def running(self, lane: Lane, *, commit: str | None) -> Row:
        """A row of `sweeps.results.TRIALS` of a lane that is in training."""
        return self.complete(lane, {"trial": lane.trial, "attempt": lane.attempt, "state": RUNNING}, commit=commit)

    def complete(self, lane: Lane, row: Row, *, commit: str | None) -> Row:
        """A row of `sweeps.results.TRIALS` out of what is known of the lane's end."""
        complete = _NOTHING | {"pack": self.order.number, "lane": self._places[lane.trial], "commit": commit}
        complete |= lane.config.to_dict() | self._columns | row
        complete["started"] = lane.started or self.started
        return complete
