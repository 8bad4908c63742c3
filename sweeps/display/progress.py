"""Progress of one training on stderr: a bar on a terminal, occasional lines elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from supermask.metrics import EpochMetrics
from sweeps.display.panel import PLAIN_SECONDS


class TrainingProgress:
    """Shows loss, accuracy and remaining weights while a block runs."""

    def __init__(self, label: str, epochs: int, console: Console) -> None:
        """Prepares the display.

        Args:
            label: What is trained.
            epochs: How many there will be.
            console: Where to show it.
        """
        self._label, self._epochs, self._console = label, epochs, console
        self._shown = -PLAIN_SECONDS
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}", markup=False),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task(label, total=epochs, numbers="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def see(self, epoch: EpochMetrics) -> None:
        """Shows the metrics of an epoch that has ended."""
        numbers = (
            f"loss {epoch.train_loss:.4f}  val accuracy {100 * epoch.val_accuracy:.2f} %  "
            f"remaining {100 * epoch.remaining:.2f} %"
        )
        self._bar.update(self._task, completed=epoch.epoch, numbers=numbers)
        is_due = time.monotonic() - self._shown >= PLAIN_SECONDS or epoch.epoch == self._epochs
        if not self._console.is_terminal and is_due:
            self._shown = time.monotonic()
            text = f"{self._label}: epoch {epoch.epoch}/{self._epochs}  {numbers}"
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)
