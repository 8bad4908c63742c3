"""Progress of a running sweep: a live panel on a terminal and in a notebook, plain lines elsewhere, on stderr."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from sweeps.display.notebook import NotebookOutput

PLAIN_SECONDS = 15.0
"""Time between two lines where there is no terminal."""
_MOST_PACKS = 8


@dataclass(frozen=True)
class PackView:
    """One pack in training."""

    number: int
    lanes: int
    epoch: int
    epochs: int
    place: str


@dataclass(frozen=True)
class SweepView:
    """What is shown of a sweep.

    Attributes:
        name: Of the sweep.
        budget: Trials to run in all.
        counts: Trials by state.
        epochs: Trained so far, and how many there will be if no further trial is stopped.
        packs: In training.
        best: Best expected accuracy with at most a given fraction of weights remaining; None when no network has it.
        hypervolume: Of all networks so far, constraints aside.
        seconds: Time so far.
        seconds_left: Estimate, or None while there is no pace to judge by.
        notes: Troubles, e.g. a mirror that lags behind.
    """

    name: str
    budget: int
    counts: dict[str, int]
    epochs: tuple[int, int]
    packs: tuple[PackView, ...]
    best: tuple[tuple[float, float | None], ...]
    hypervolume: float | None
    seconds: float
    seconds_left: float | None
    notes: tuple[str, ...] = ()


class Display:
    """Shows a view again and again while a block runs."""

    def __init__(self, look: Callable[[], SweepView], console: Console) -> None:
        """Prepares the display.

        Args:
            look: Gives the current view; called from another thread.
            console: Where to show it.
        """
        self._look, self._console = look, console
        self._stop = threading.Event()
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._cell: NotebookOutput | None = None
        self._thread = threading.Thread(target=self._show, name="display", daemon=True)

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        elif self._console.is_jupyter:
            self._cell = NotebookOutput()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=2.0)
        if self._live:
            self._live.stop()
        if self._cell:
            self._cell.show(panel(self._look()))

    def _show(self) -> None:
        shown = -PLAIN_SECONDS
        while not self._stop.wait(0.5):
            if self._live:
                self._live.update(panel(self._look()), refresh=True)
            elif self._cell:
                self._cell.show(panel(self._look()))
            elif time.monotonic() - shown >= PLAIN_SECONDS:
                shown = time.monotonic()
                self._console.print(line(self._look()), highlight=False, markup=False, soft_wrap=True)


def panel(view: SweepView) -> Panel:
    """The live panel."""
    bar = Progress(TextColumn("trials"), BarColumn(bar_width=None), MofNCompleteColumn(), expand=True)
    bar.add_task("trials", total=view.budget, completed=_ended(view))
    lines = [_counts(view), f"{_epochs(view)}  {_time(view)}", _best(view), _volume(view)]
    notes = [Text(note, style="yellow") for note in view.notes]
    return Panel(Group(bar, *map(Text, lines), *notes, *_packs(view.packs)), title=view.name, title_align="left")


def _packs(packs: tuple[PackView, ...]) -> list[Table | Text]:
    if not packs:
        return []
    shown = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("pack", "lanes", "epoch", "where"):
        shown.add_column(column, justify="left" if column == "where" else "right", overflow="fold")
    for pack in packs[:_MOST_PACKS]:
        shown.add_row(str(pack.number), str(pack.lanes), f"{pack.epoch}/{pack.epochs}", pack.place)
    rest = len(packs) - _MOST_PACKS
    return [shown, *([Text(f"and {rest} more packs", style="dim")] if rest > 0 else [])]


def line(view: SweepView) -> str:
    """The view in one line."""
    shown = [f"{_counts(view)}  {_epochs(view)}  {_time(view)}", f"{_best(view)}  {_volume(view)}"]
    return " | ".join([f"{view.name}: {_ended(view)}/{view.budget} trials", *shown, *view.notes])


def _ended(view: SweepView) -> int:
    return sum(view.counts[state] for state in ("finished", "stopped", "failed"))


def _counts(view: SweepView) -> str:
    states = ("finished", "stopped", "failed", "running", "waiting")
    return "  ".join(f"{view.counts[state]} {state}" for state in states if view.counts[state] or state == "finished")


def _epochs(view: SweepView) -> str:
    done, of = view.epochs
    return f"{done:,} of {count(of, 'epoch')}"


def _time(view: SweepView) -> str:
    left = "" if view.seconds_left is None else f"  about {duration(view.seconds_left)} left"
    return f"after {duration(view.seconds)}{left}"


def _best(view: SweepView) -> str:
    best = "  ".join(
        f"<= {100 * level:g} %: {'-' if accuracy is None else f'{100 * accuracy:.2f} %'}"
        for level, accuracy in view.best
    )
    return f"best accuracy, remaining {best}"


def _volume(view: SweepView) -> str:
    return f"hypervolume {'-' if view.hypervolume is None else f'{view.hypervolume:.4f}'}"


def duration(seconds: float) -> str:
    """Seconds in words, e.g. `1 h 5 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def count(number: int, noun: str) -> str:
    """A number of things in words."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
