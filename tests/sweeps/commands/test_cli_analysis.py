"""The commands that judge a sweep: pareto with a recommendation and figures, compare, and tables of all trials."""

import csv
import html
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console

from search_spaces.space import Constraint, SearchSpace
from sweeps import results
from sweeps.commands.conclusion import conclude
from sweeps.confirmations import ConfirmationWriter
from sweeps.driver.options import Options
from sweeps.results import CONFIG_COLUMNS
from sweeps.run import Outcome
from sweeps.store.paths import SweepPaths

EndedRow = Callable[..., dict[str, Any]]
WriteSweep = Callable[..., SweepPaths]


@pytest.fixture
def swept(sweeps: Any, ended_row: EndedRow, write_sweep: WriteSweep) -> SweepPaths:
    return write_sweep(sweeps.folder / "sweeps-out", [ended_row(trial) for trial in range(4)])


def test_pareto_recommends_a_network(sweeps: Any, swept: SweepPaths) -> None:
    first, second, *_ = sweeps("pareto", "small").err.splitlines()
    assert first == (
        "recommended: network 1@1, initial pruning rate 0.50, expected accuracy 89.00 ± 1.00 %, remaining 25.00 %; "
        "one seed; confirm it: sweeps confirm small --select 1@1 --seeds 10"
    )
    assert second == "the smallest network that is accurate enough: sweeps pareto small --min accuracy=0.9"
    # The most accurate of those small enough, and the smallest of those accurate enough.
    assert "recommended: network 1@1" in sweeps("pareto", "small", "--max", "remaining=0.3").err
    assert "recommended: network 2@1" in sweeps("pareto", "small", "--min", "accuracy=0.875").err
    assert sweeps("pareto", "small", "--min", "accuracy=0.99").err.splitlines()[0] == (
        "no network keeps to: val_accuracy >= 0.99. See how far the sweep is: sweeps status small"
    )


def test_an_empty_front_is_explained_in_the_same_words_everywhere(
    sweeps: Any, ended_row: EndedRow, write_sweep: WriteSweep, small_space: Callable[..., SearchSpace]
) -> None:
    bounds = (Constraint("val_accuracy", ">=", 0.99), Constraint("remaining", "<=", 0.2))
    paths = write_sweep(sweeps.folder / "sweeps-out", [ended_row(0)], constraints=bounds)
    wanted = "no network keeps to: val_accuracy >= 0.99, remaining <= 0.2."
    assert f"{wanted} See how far the sweep is: sweeps status small\n" in sweeps("pareto", "small").err
    sweeps("report", "small")
    page = html.unescape(paths.report.read_text())
    assert page.count(wanted.replace("no network", "No network")) == 2
    out, err = Console(file=io.StringIO()), Console(file=io.StringIO())
    outcome = Outcome("finished", {"finished": 1}, 1.0, 0, {})
    assert conclude(outcome, small_space(constraints=bounds), Options(root=paths.root), out, err) == 0
    assert isinstance(err.file, io.StringIO)
    assert f"{wanted} See what there is: sweeps report small\n" in err.file.getvalue()


def test_pareto_as_latex_shows_the_interval_of_a_confirmed_network(
    sweeps: Any, swept: SweepPaths, ended_row: EndedRow
) -> None:
    config = {name: ended_row(1)[name] for name in CONFIG_COLUMNS}
    ConfirmationWriter(swept.confirm).write(
        config
        | {"trial": 1, "epoch": 1, "seed_index": index, "state": "finished"}
        | {"test_accuracy": value, "val_accuracy": 0.9, "remaining": 0.25}
        for index, value in enumerate((0.94, 0.96))
    )
    done = sweeps("pareto", "small", "--latex")
    assert done.code == 0
    assert "1@1 & 89.00 & 25.00 & 95.00 [82.29, 107.71] &" in done.out
    assert done.out.count("& -- &") == 3  # the test set is read after a trial's last epoch only


def test_pareto_draws_figures_for_a_paper(sweeps: Any, swept: SweepPaths) -> None:
    done = sweeps("pareto", "small", "--json", "--png", "a.png", "--svg", "a.svg", "--pdf", "a.pdf")
    assert done.code == 0
    assert done.err.splitlines()[-4:-1] == ["figure: a.png", "figure: a.svg", "figure: a.pdf"]
    with Image.open(sweeps.folder / "a.png") as image:
        assert image.size[0] == 990
    assert (sweeps.folder / "a.pdf").read_bytes().startswith(b"%PDF")
    assert b"<svg" in (sweeps.folder / "a.svg").read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--json", "--latex"], "--json, --csv, --latex: at most one must be given, but got more. Remove all but one."),
        (["--pdf", "a.png"], "--pdf a.png: must end in .pdf, but does not. Rename it: a.pdf."),
        (["--png", "no/a.png"], "--png no/a.png: must be in a folder that exists, but no does not. Create it."),
    ],
)
def test_pareto_refuses_what_it_cannot_write(sweeps: Any, swept: SweepPaths, options: list[str], message: str) -> None:
    before = sweeps.files()
    done = sweeps("pareto", "small", *options)
    assert (done.code, done.err.strip(), done.out) == (2, message, "")
    assert sweeps.files() == before


def test_a_picture_is_drawn_again_only_when_there_is_something_new(
    sweeps: Any, swept: SweepPaths, ended_row: EndedRow
) -> None:
    sweeps("pareto", "small")
    os.utime(swept.front_png, (2e9, 2e9))
    sweeps("pareto", "small")
    assert swept.front_png.stat().st_mtime == 2e9
    (part,) = swept.trials.glob("*.parquet")
    os.utime(part, (2.1e9, 2.1e9))
    sweeps("pareto", "small")
    assert swept.front_png.stat().st_mtime != 2e9


def test_compare(sweeps: Any, swept: SweepPaths, ended_row: EndedRow, write_sweep: WriteSweep) -> None:
    rows = [ended_row(0, val_accuracy=0.95, remaining=0.5, epochs=3), ended_row(1, val_accuracy=0.7, remaining=0.1)]
    write_sweep(swept.root, rows, name="other")
    done = sweeps("compare", "small", "other", "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert found["names"] == ["small", "other"]
    assert found["difference"] == pytest.approx(found["volumes"][0] - found["volumes"][1])
    assert found["low"] <= found["high"]
    assert [(part["low"], part["high"], part["better"]) for part in found["where"]] == [
        (0.1, 0.125, "other"),
        (0.125, 0.5, "one"),
        (0.5, 1.0, "other"),
    ]
    picture = swept.folder / "compared-other.png"
    assert done.err.splitlines() == [
        "the interval leans against other, which has networks of fewer trials (2 against 4): a resample only loses, "
        "the more the fewer there are",
        "they differ in epochs: small has 2, other has 2, 3",
        f"picture: {picture}",
    ]
    with Image.open(picture) as image:
        assert image.size[0] == 990
    lines = [" ".join(line.split()) for line in sweeps("compare", "small", "other").out.splitlines()]
    assert "10.00 12.50 other alone alone" in lines
    assert "50.00 100.00 other 5.00 5.00" in lines
    assert "95 % bootstrap interval over trials" in " ".join(lines)


def test_compare_needs_one_question(sweeps: Any, swept: SweepPaths, write_sweep: WriteSweep) -> None:
    write_sweep(swept.root, [], name="losses", objectives={"val_loss": "minimize", "remaining": "minimize"})
    done = sweeps("compare", "small", "losses")
    assert (done.code, done.out) == (2, "")
    assert done.err.strip() == (
        "small, losses: both must have the same objectives, but they have val_accuracy maximize, remaining minimize "
        "and val_loss minimize, remaining minimize. Compare sweeps of one question."
    )


def test_compare_with_a_sweep_without_trials(sweeps: Any, swept: SweepPaths, write_sweep: WriteSweep) -> None:
    write_sweep(swept.root, [], name="empty")
    for names in (["small", "empty"], ["empty", "small"], ["empty", "empty"]):
        assert sweeps("compare", *names).code == 0


def test_all_trials_as_csv_and_parquet(sweeps: Any, swept: SweepPaths) -> None:
    done = sweeps("export", "small", "--csv", "all.csv", "--parquet", "all.parquet")
    assert (done.code, done.out) == (0, "all.csv\nall.parquet\n")
    whole = results.load(swept.root, "small")
    assert pq.read_table(sweeps.folder / "all.parquet").equals(whole)
    with (sweeps.folder / "all.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [*rows[0]] == [name for name in whole.column_names if name != "layers"]
    assert [float(row["val_accuracy"]) for row in rows] == whole.column("val_accuracy").to_pylist()
    again = sweeps("export", "small", "--csv", "all.csv")
    assert again.code == 2
    assert "--csv all.csv: must be a new file, but there is one." in again.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["small"],
            "--to: must say what to make of a network: artifact, torch, onnx or mlflow. Write for example --to ",
        ),
        (["small:3", "--csv", "a.csv"], "Write for example: sweeps export small --csv trials.csv."),
        (["small", "--csv", "a.csv", "--to", "onnx"], "take all trials of a sweep, without --to and --out, but got"),
        (["small", "--csv", "no/a.csv"], "--csv no/a.csv: must be a file in a folder that exists, but is not."),
        (["smal", "--csv", "a.csv"], "did you mean 'small'"),
    ],
)
def test_what_cannot_be_exported(sweeps: Any, swept: SweepPaths, arguments: list[str], message: str) -> None:
    before = sweeps.files()
    done = sweeps("export", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert sweeps.files() == before


def test_only_the_columns_asked_for_are_read(swept: SweepPaths, tmp_path: Path) -> None:
    table = results.load(swept.root, "small", columns={"remaining"})
    assert table.column_names == ["trial", "attempt", "remaining"]
    assert table.equals(results.load(swept.root, "small").select(table.column_names))
