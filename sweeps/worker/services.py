"""What a worker is given beside its packs: settings, the checkpoint store, and who decides at a rung."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from search_spaces.space import Stopping
from sweeps.objectives import Objectives
from sweeps.worker.checkpoints import Checkpoint, Reached
from sweeps.worker.watchdog import HANG_SECONDS

Row = dict[str, Any]


class Checkpoints(Protocol):
    """The sweep's checkpoint store. Workers call `keep`, `take` and `is_preempted`, the driver all else."""

    def keep(self, checkpoint: Checkpoint, *, waiting: bool, durable: bool) -> str | None:
        """Takes a checkpoint; returns why it could not be written.

        Raises:
            TimeoutError: If the store does not answer.
        """
        ...

    def take(self, trials: list[int], epoch: int) -> list[Checkpoint]:
        """Gives the checkpoints of trials that go on."""
        ...

    def is_preempted(self, pack: int) -> bool:
        """Whether a pack is to write its checkpoints and end."""
        ...

    def reached(self, trials: Iterable[int]) -> dict[int, Reached]:
        """How far the checkpoints of these trials go."""
        ...

    def preempt(self, packs: Iterable[int], *, ending: bool) -> None:
        """Packs are to write checkpoints and end; returns at once."""
        ...

    def settle(self) -> None:
        """Writes the checkpoints that are in memory only."""
        ...

    def forget(self, trials: Iterable[int]) -> None:
        """Trials have ended; returns at once."""
        ...


class Judge(Protocol):
    """Decides at a rung who is stopped."""

    def judge(self, epoch: int, reached: dict[int, Row]) -> list[int]:
        """The trials to stop, of those that have come to this rung.

        Raises:
            TimeoutError: If the judge does not answer.
        """
        ...


@dataclass(frozen=True)
class WorkerSettings:
    """What is equal for all packs of a session.

    Attributes:
        cpus: Threads of a pack.
        gpus: GPUs of a pack, or a share of one; with none it trains on the CPU, also where there is one.
        objectives: What is good, and what a network must keep to be wanted.
        stopping: Where the rungs are; None trains every trial to its end.
        hang_seconds: Time without a step of training from which a pack is given up, see `sweeps.worker.watchdog`.
        checkpoint_seconds: Training between two checkpoints on disk; None chooses, see `sweeps.worker.cadence`.
    """

    cpus: int = 1
    gpus: float = 0
    objectives: Objectives = field(default_factory=lambda: Objectives({}))
    stopping: Stopping | None = None
    hang_seconds: float = HANG_SECONDS
    checkpoint_seconds: float | None = None
