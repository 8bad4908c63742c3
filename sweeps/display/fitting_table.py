"""Tables that fit the terminal: columns without room are dropped and named, no value is truncated."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

_LEAST_TEXT = 16
"""Minimum width of a folded text, in characters."""
_GAP = 2


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        heading: Its words may stand on lines of their own.
        values: One for each row.
        rank: Columns of the highest rank are left out first, of equal ones the last; those of rank 0 never.
        is_text: Whether its values are words, which may be folded, rather than numbers.
    """

    heading: str
    values: Sequence[str]
    rank: int = 0
    is_text: bool = False

    @property
    def width(self) -> int:
        """Minimum width in characters without truncation."""
        longest = max((len(value) for value in self.values), default=0)
        words = max(len(word) for word in self.heading.split())
        return max(words, min(longest, _LEAST_TEXT) if self.is_text else longest)


@dataclass(frozen=True)
class FittingTable:
    """Columns side by side, as many as the terminal has room for."""

    columns: Sequence[Column]
    title: str | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Renders the table, and names the dropped columns."""
        shown = list(self.columns)
        while sum(column.width + _GAP for column in shown) + 1 > options.max_width:
            rank = max(column.rank for column in shown)
            if rank == 0:
                break
            shown.remove([column for column in shown if column.rank == rank][-1])
        table = Table(
            title=self.title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
        )
        narrow = sum(max(column.width, len(column.heading)) + _GAP for column in shown) + 1 > options.max_width
        for column in shown:
            width = None if column.is_text or not narrow else column.width
            side = "left" if column.is_text else "right"
            table.add_column(column.heading, justify=side, overflow="fold", width=width, min_width=column.width)
        for row in zip(*(column.values for column in shown), strict=True):
            table.add_row(*(Text(value) for value in row))
        yield table
        left_out = [column.heading for column in self.columns if column not in shown]
        if left_out:
            yield Text(f"no room for: {', '.join(left_out)}; widen the terminal, or use --json", style="dim")
