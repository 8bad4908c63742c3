"""Where packs train: what an executor does for a driver, and which one the options ask for."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rich.console import Console

from search_spaces.space import SearchSpace
from supermask.data import Dataset
from sweeps.driver.dispatcher import Dispatcher, Share
from sweeps.driver.options import Options
from sweeps.driver.plan import PackPlan, Resources
from sweeps.driver.queue import TrialQueue
from sweeps.store.paths import SweepPaths
from sweeps.worker.services import Checkpoints, WorkerSettings

T = TypeVar("T")


class Executor(Protocol):
    """Trains packs: worker processes that Ray Tune schedules, or this process."""

    @property
    def resources(self) -> Resources:
        """What there is to train on."""
        ...

    def call(self, function: Callable[..., T], *arguments: Any, plan: PackPlan, beside: int = 1) -> list[T] | None:
        """Calls a function where packs will train, in so many places side by side.

        Returns:
            What the calls gave; None where one of them lost its process.
        """
        ...

    def start_store(self, folder: Path, *, name: str) -> Checkpoints:
        """Starts the checkpoint store of a session.

        Args:
            folder: Of its files.
            name: Of the sweep.
        """
        ...

    def start_judge(self, paths: SweepPaths, space: SearchSpace) -> None:
        """Starts who decides at rungs, for spaces with early stopping; it begins with what is written of the sweep."""
        ...

    def share(self, plan: PackPlan, queue: TrialQueue, *, most: int | None) -> Share:
        """What the session may use at any moment.

        Args:
            plan: Says what a pack needs.
            queue: Knows how many packs are to come.
            most: Packs at a time that the user allows.
        """
        ...

    def train(
        self, dispatcher: Dispatcher, plan: PackPlan, settings: WorkerSettings, datasets: Mapping[str, Dataset]
    ) -> None:
        """Trains until the dispatcher has no pack left.

        Raises:
            KeyboardInterrupt: If the session was asked to end.
            SweepError: If packs are lost again and again.
        """
        ...

    def is_lost(self) -> bool:
        """Whether the workers are gone, so that there is nothing to wait for."""
        ...


@contextmanager
def executing(options: Options, datasets: Mapping[str, Dataset], console: Console) -> Iterator[Executor]:
    """Where to train, as the options say it. Ray takes seconds to import and to start."""
    if options.in_process:
        from sweeps.driver.in_process import InProcessExecutor

        yield InProcessExecutor()
        return
    say(console, f"connecting to Ray at {options.address}" if options.address else "starting Ray on this machine")
    from sweeps.driver.ray_executor import on_ray

    with on_ray(options.address, datasets) as executor:
        yield executor


def say(console: Console, text: str) -> None:
    """Writes a line as it is, however long."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)
