"""Tables at 80 and at 160 columns: nothing is cut off, what has no room is named."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from rich.console import Console

from search_spaces.space import Parameter, SearchSpace
from sweeps.analysis.front_rows import front_rows
from sweeps.display import front
from sweeps.display.fitting_table import Column, FittingTable
from sweeps.display.status import STATES, table
from tests.sweeps.conftest import network_table

NAMES = ["fcn_mnist", "conv6_cifar10_sparse_second_search", "a" * 60]
HEADINGS = ["sweep", "state", "budget", *STATES, "hyper volume", "time"]


def drawn(shown: object, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(shown)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    return lines


def words(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())


def sweeps_table() -> FittingTable:
    counts = {"asked": 100_000, "finished": 81_234, "stopped": 12_345, "failed": 123, "running": 512, "waiting": 5_786}
    rows = [{"name": name, "state": "interrupted", "trials": counts, "hypervolume": 0.97654} for name in NAMES]
    return table([row | {"seconds": 123_456} for row in rows], [200_000] * len(rows))


@pytest.mark.parametrize(
    ("width", "left_out"), [(160, []), (100, ["budget", "stopped"]), (80, ["budget", "stopped", "running", "waiting"])]
)
def test_sweeps_at_this_width(width: int, left_out: list[str]) -> None:
    lines = drawn(sweeps_table(), width)
    shown = words(lines)
    assert "…" not in shown
    for text in ("interrupted", "100000", "81234", "123", "0.9765", "34 h 17 min"):
        assert sum(text in line for line in lines) == len(NAMES), text
    folded = "".join(line[1:].split("  ")[0].strip() for line in lines if line.startswith(" ") and "─" not in line)
    assert all(name in folded for name in NAMES)
    named = shown.partition("no room for: ")[2].partition(";")[0]
    assert named == ", ".join(heading for heading in HEADINGS if heading in left_out)
    for heading in HEADINGS:
        assert (heading.split()[0] in shown.partition("no room")[0]) == (heading not in left_out)


@pytest.mark.parametrize("width", [80, 160])
def test_the_front_at_this_width(
    width: int, ended_row: Callable[..., dict[str, Any]], small_space: Callable[..., SearchSpace]
) -> None:
    names = ["learning_rate", "weight_decay", "momentum", "decay_rate", "decay_epochs", "weight_gain", "score_gain"]
    space = small_space(parameters={name: Parameter(FloatDistribution(0.01, 0.9)) for name in names})
    row = ended_row(16, weight_decay=0.000123456)
    shown = words(drawn(front.table(front_rows(network_table([row]), space)), width))
    assert "…" not in shown
    assert f"16@2 74.00 ± 1.00 {'74.00 ' if width == 160 else ''}2.94 88.00 0.05 0.000123" in shown
    assert ("no room for:" in shown) == (width == 80)
    last = shown.partition("no room for: ")[2].partition(";")[0]
    assert last in ("", "val accuracy %, decay rate, decay epochs, weight gain, score gain")


COLUMNS = st.builds(
    lambda heading, value, rank, is_text: Column(heading, [value] * 2, rank=rank, is_text=is_text),
    st.from_regex(r"[a-z]{1,9}( [a-z]{1,9})?", fullmatch=True),
    st.from_regex(r"[0-9]{1,12}", fullmatch=True),
    st.integers(1, 3),
    st.booleans(),
)


@given(st.lists(COLUMNS, max_size=12, unique_by=lambda column: column.heading), st.integers(40, 200))
def test_what_is_shown_is_whole_and_the_rest_is_named(columns: list[Column], width: int) -> None:
    lines = drawn(FittingTable([Column("name", ["first", "second"], is_text=True), *columns]), width)
    text = words(lines)
    named = [heading for heading in text.partition("no room for: ")[2].partition(";")[0].split(", ") if heading]
    assert "…" not in text
    assert set(named) <= {column.heading for column in columns}
    if not any(column.is_text for column in columns):
        (row,) = [line.split() for line in lines if line.strip().startswith("first")]
        assert len(row) == 1 + len(columns) - len(named)
