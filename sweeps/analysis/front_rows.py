"""The rows of a front, of which all its tables are made: terminal, JSON, CSV, LaTeX, HTML and Markdown."""

from dataclasses import dataclass
from typing import Any

from search_spaces.space import SearchSpace
from sweeps.objectives import FRACTIONS, judged_by, network_name
from sweeps.pareto import Table
from sweeps.results import CONFIG_COLUMNS
from sweeps.store.columns import without_moments

Row = dict[str, Any]


@dataclass(frozen=True)
class FrontRows:
    """A front row by row, and the columns that its tables show.

    Attributes:
        name: Name of the sweep.
        objectives: Metrics, the most important first.
        parameters: Searched fields.
        rows: Rows of networks, best first objective first, see `sweeps.networks.with_trials`.
    """

    name: str
    objectives: tuple[str, ...]
    parameters: tuple[str, ...]
    rows: list[Row]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Objectives, of accuracy first the estimate that it is judged by, and the test accuracy."""
        judged = [name for metric in self.objectives for name in dict.fromkeys((judged_by(metric, _JUDGED), metric))]
        return tuple(dict.fromkeys((*judged, "test_accuracy")))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the shown columns after the network."""
        return (*self.metrics, *self.parameters)

    @property
    def headings(self) -> list[str]:
        """Their headings in words, with the unit."""
        return [name.replace("_", " ") + (" %" if name in FRACTIONS else "") for name in self.columns]

    def cells(self, row: Row) -> list[str]:
        """A row of these columns as texts."""
        texts = {name: as_text(name, row[name]) for name in self.columns}
        if "estimate" in texts:
            texts["estimate"] += f" ± {as_text('standard_error', row['standard_error'])}"
        return list(texts.values())


_JUDGED = ("estimate",)


def front_rows(front: Table, space: SearchSpace) -> FrontRows:
    """The rows of a front.

    Args:
        front: From `sweeps.stored.StoredSweep.front`.
        space: Of its sweep.
    """
    searched = tuple(name for name in CONFIG_COLUMNS if name in space.parameters)
    return FrontRows(space.name, tuple(space.objectives), searched, without_moments(front).to_pylist())


def name_of(row: Row) -> str:
    """How the network of a row is written."""
    return network_name((row["trial"], row["epoch"]))


def as_text(name: str, value: Any) -> str:
    """A metric or a field as tables show it: fractions in percent, other numbers with three digits."""
    if value is None:
        return "-"
    if name in FRACTIONS:
        return f"{100 * value:.2f}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
