import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from search_spaces.space import Constraint, SearchSpace
from supermask.config import TrainConfig
from sweeps import pareto
from sweeps.analysis.front_rows import front_rows
from sweeps.display.front import as_csv, draw, parse_bound, records, table
from sweeps.errors import SweepError
from sweeps.store.paths import SweepPaths
from sweeps.stored import StoredSweep
from tests.sweeps.conftest import network_table

Space = Callable[..., SearchSpace]
EndedRow = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("text", "operator", "bound"),
    [
        ("accuracy=0.97", ">=", Constraint("val_accuracy", ">=", 0.97)),
        ("val_accuracy=0.97", ">=", Constraint("val_accuracy", ">=", 0.97)),
        ("test_accuracy=.5", ">=", Constraint("test_accuracy", ">=", 0.5)),
        ("loss=1e-1", "<=", Constraint("val_loss", "<=", 0.1)),
        (" remaining = 0.05 ", "<=", Constraint("remaining", "<=", 0.05)),
    ],
)
def test_bounds_as_the_command_line_gives_them(text: str, operator: str, bound: Constraint) -> None:
    assert parse_bound(text, operator) == bound


@pytest.mark.parametrize(
    "text",
    ["", "accuracy", "=0.5", "accuracy=", "accuracy=high", "acc=0.5", "accuracy=1=2", "accuracy=nan", "loss=inf"],
)
@pytest.mark.parametrize(
    ("operator", "option", "example"), [(">=", "--min", "accuracy=0.97"), ("<=", "--max", "remaining=0.05")]
)
def test_what_is_no_bound_is_an_error_with_an_example(text: str, operator: str, option: str, example: str) -> None:
    with pytest.raises(SweepError) as raised:
        parse_bound(text, operator)
    assert raised.value.message == (
        f"{option}: must be METRIC=NUMBER with a metric out of val_accuracy, test_accuracy, remaining, inverted, "
        f"train_loss, val_loss, test_loss, but got {text!r}. Write for example {option} {example}."
    )


@pytest.mark.parametrize("text", ["accuracy=97", "accuracy=-0.1"])
def test_a_percentage_is_no_fraction(text: str) -> None:
    with pytest.raises(SweepError) as raised:
        parse_bound(text, ">=")
    message = f"--min: val_accuracy is a fraction in [0, 1], but got {text!r}. 97 % is 0.97."
    assert raised.value.message == message


def test_records_hold_objectives_and_the_whole_configuration(small_space: Space, ended_row: EndedRow) -> None:
    front = network_table([ended_row(3, seed=9, estimate=0.8), ended_row(1)])
    found = records(front_rows(front, small_space(objectives={"val_loss": "minimize", "remaining": "minimize"})))
    names = ["trial", "epoch", "val_accuracy", "estimate", "remaining", "val_loss", "config"]
    assert [list(record) for record in found] == [names] * 2
    assert (found[0]["trial"], found[0]["epoch"], found[0]["val_loss"]) == (3, 2, 0.4)
    assert found[0]["estimate"] == {"accuracy": 0.8, "standard_error": 0.01}
    assert TrainConfig.from_dict(found[0]["config"]) == TrainConfig(dataset="digits", epochs=2, batch_size=64, seed=9)


def test_csv_has_the_same_values_in_flat_columns(small_space: Space, ended_row: EndedRow) -> None:
    front = network_table([ended_row(0, learning_rate=1 / 3), ended_row(1)])
    text = as_csv(front_rows(front, small_space()))
    assert "\r" not in text
    rows = list(csv.DictReader(io.StringIO(text)))
    names = ["trial", "epoch", "estimate", "standard_error", "val_accuracy", "remaining", "test_accuracy", "network"]
    assert list(rows[0])[:8] == names
    assert [row["trial"] for row in rows] == ["0", "1"]
    assert float(rows[0]["learning_rate"]) == 1 / 3
    assert as_csv(front_rows(front.slice(0, 0), small_space())).splitlines() == [",".join(rows[0])]


def shown(front: Any, space: SearchSpace) -> list[str]:
    console = Console(file=io.StringIO(), width=120, color_system=None)
    console.print(table(front_rows(front, space)))
    assert isinstance(console.file, io.StringIO)
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines() if line.strip()]


def test_the_table_shows_percentages_and_what_was_searched(small_space: Space, ended_row: EndedRow) -> None:
    row = ended_row(7, estimate=0.8212, pruning_rate=0.123456, test_accuracy=None)
    lines = shown(network_table([row]), small_space())
    assert lines[0] == "front of small: 1 network"
    assert lines[1] == "network estimate % val accuracy % remaining % test accuracy % pruning rate learning rate"
    assert lines[-1] == "7@2 82.12 ± 1.00 83.00 6.25 - 0.123 0.05"


def test_the_picture_shows_a_sweep_in_any_state(
    tmp_path: Path, small_space: Space, ended_row: EndedRow, write_sweep: Callable[..., SweepPaths]
) -> None:
    rows = {
        "many": [ended_row(trial) for trial in range(4)] + [ended_row(4, "failed")],
        "one": [ended_row(0)],
        "failed": [ended_row(0, "failed")],
        "none": [],
    }
    for name, ended in rows.items():
        paths = write_sweep(tmp_path, ended, name=name)
        space = small_space(name=name, constraints=(Constraint("val_accuracy", ">=", 0.895),))
        sweep = StoredSweep(paths, space)
        draw(sweep, sweep.networks(), sweep.trials(running=True))
        with Image.open(paths.front_png) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) > 300
            colours = picture.convert("RGB").getcolors(10_000_000)
            assert colours is not None
            assert len(colours) > 10


def test_the_shown_front_follows_constraints(small_space: Space, ended_row: EndedRow) -> None:
    networks = network_table([ended_row(trial) for trial in range(4)])
    space = small_space(constraints=(Constraint("val_accuracy", ">=", 0.885),))
    front = pareto.front_of(networks, space)
    assert [record["trial"] for record in records(front_rows(front, space))] == [0, 1]
