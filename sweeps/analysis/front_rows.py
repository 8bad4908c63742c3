"""The rows of a front, of which all its tables are made: terminal, JSON, CSV, LaTeX, HTML and Markdown."""

from dataclasses import dataclass
from typing import Any

from search_spaces.space import SearchSpace
from sweeps.objectives import FRACTIONS
from sweeps.pareto import Table
from sweeps.results import CONFIG_COLUMNS

Row = dict[str, Any]


@dataclass(frozen=True)
class FrontRows:
    """A front row by row, and the columns that its tables show.

    Attributes:
        name: Name of the sweep.
        objectives: Metrics, the most important first.
        parameters: Searched fields.
        rows: Rows of trials with the columns of `sweeps.results.TRIALS`, best first objective first.
    """

    name: str
    objectives: tuple[str, ...]
    parameters: tuple[str, ...]
    rows: list[Row]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Objectives and the test accuracy."""
        return tuple(dict.fromkeys((*self.objectives, "test_accuracy")))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the shown columns after the number of the trial."""
        return (*self.metrics, *self.parameters)

    @property
    def headings(self) -> list[str]:
        """Their headings in words, with the unit."""
        return [name.replace("_", " ") + (" %" if name in FRACTIONS else "") for name in self.columns]

    def cells(self, row: Row) -> list[str]:
        """A row of these columns as texts."""
        return [as_text(name, row[name]) for name in self.columns]


def front_rows(front: Table, space: SearchSpace) -> FrontRows:
    """The rows of a front.

    Args:
        front: From `sweeps.pareto.front`.
        space: Of its sweep.
    """
    searched = tuple(name for name in CONFIG_COLUMNS if name in space.parameters)
    return FrontRows(space.name, tuple(space.objectives), searched, front.to_pylist())


def as_text(name: str, value: Any) -> str:
    """A metric or a field as tables show it: fractions in percent, other numbers with three digits."""
    if value is None:
        return "-"
    if name in FRACTIONS:
        return f"{100 * value:.2f}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
