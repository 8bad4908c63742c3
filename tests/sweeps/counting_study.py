"""A study that only counts, for a queue over it, and what that queue is given and hands out."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import cycle

from supermask.config import TrainConfig
from sweeps.driver.queue import TrialQueue
from sweeps.search.study import AskedTrial
from sweeps.worker.checkpoints import Reached
from sweeps.worker.messages import Lane, PackOrder

BEGAN = datetime(2026, 5, 4, 12, tzinfo=UTC)


class CountingStudy:
    """Asks for trials whose batch sizes repeat a pattern."""

    def __init__(self, batch_sizes: Sequence[int] = (64,), left_open: Sequence[AskedTrial] = ()) -> None:
        self.asked = len(left_open)
        self._batch_sizes: Iterator[int] = cycle(batch_sizes)

    def ask(self) -> AskedTrial:
        asked = AskedTrial(self.asked, config(self.asked, next(self._batch_sizes)))
        self.asked += 1
        return asked


def config(seed: int, batch_size: int = 64) -> TrainConfig:
    return TrainConfig(dataset="digits", batch_size=batch_size, seed=seed)


def paused(trial: int, epoch: int, batch_size: int = 64) -> Lane:
    return Lane(trial, 1, config(trial, batch_size), epoch=epoch, seconds=2.0)


def reached(trial: int, epoch: int, attempt: int = 1) -> Reached:
    return Reached(trial=trial, attempt=attempt, epoch=epoch, seconds=epoch / 2, started=BEGAN, config="c")


def drain(queue: TrialQueue) -> list[PackOrder]:
    return list(iter(queue.next_pack, None))


def take(queue: TrialQueue, count: int) -> list[PackOrder]:
    return [pack for pack in (queue.next_pack() for _ in range(count)) if pack]


def numbers(packs: Sequence[PackOrder]) -> list[list[int]]:
    return [[lane.trial for lane in pack.lanes] for pack in packs]
