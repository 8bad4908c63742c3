from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from supermask.config import TrainConfig
from sweeps.analysis.attainment import surfaces
from sweeps.analysis.confirmed import Confirmed, summarise
from sweeps.display.confirmed import conclude, records, table
from sweeps.errors import SweepError
from sweeps.figures.confirmed import confirmed_figure, draw
from sweeps.figures.drawing import Reference
from sweeps.store.paths import SweepPaths

CONFIG = TrainConfig(dataset="digits").to_dict()


def row(trial: int, seed_index: int, accuracy: float | None, remaining: float = 0.02) -> dict[str, Any]:
    state = {"state": "finished", "reason": None, "test_accuracy": accuracy, "val_accuracy": 0.5}
    state |= {"remaining": remaining}
    if accuracy is None:
        state = {"state": "failed", "reason": "diverged: val_loss is nan after epoch 1"}
    return {"trial": trial, "epoch": 2, "seed_index": seed_index, **CONFIG, **state}


TWO = [row(3, 0, 0.94, 0.01), row(3, 1, 0.96, 0.03), row(7, 0, 0.97), row(7, 1, 0.97), row(7, 2, None)]
DEAD = [row(9, 0, None), row(9, 1, None)]


def test_records_best_mean_first_and_only_of_what_finished() -> None:
    best, second, last = records(summarise([*TWO, *DEAD]))
    assert best == {
        "trial": 7,
        "epoch": 2,
        "seeds": 2,
        "test_accuracy": {"mean": 0.97, "std": 0.0, "low": 0.97, "high": 0.97},
        "val_accuracy": {"mean": 0.5, "std": 0.0, "low": 0.5, "high": 0.5},
        "remaining": {"mean": 0.02, "std": 0.0, "low": 0.02, "high": 0.02},
    }
    assert (second["trial"], second["seeds"]) == (3, 2)
    assert second["test_accuracy"] == {
        "mean": pytest.approx(0.95),
        "std": pytest.approx(0.02 / 2**0.5),
        "low": pytest.approx(0.95 - 0.127062, abs=1e-6),
        "high": pytest.approx(0.95 + 0.127062, abs=1e-6),
    }
    nothing = dict.fromkeys(("mean", "std", "low", "high"))
    assert last == {"trial": 9, "epoch": 2, "seeds": 0} | dict.fromkeys(
        ("test_accuracy", "val_accuracy", "remaining"), nothing
    )


def shown(found: list[Confirmed]) -> str:
    console = Console(width=140, file=None)
    with console.capture() as capture:
        console.print(table(found, "small"))
    return capture.get()


def test_the_table_is_in_percent_and_names_its_interval() -> None:
    lines = shown(summarise([*TWO, *DEAD, row(1, 0, 0.5)])).splitlines()
    assert lines[0].strip() == "small: mean ± std [95 % Student t interval], fresh seeds"
    cells = [line.split(maxsplit=2) for line in lines if line.strip()[:1].isdigit()]
    assert [(network, seeds, rest.split("   ")[0].strip()) for network, seeds, rest in cells] == [
        ("7@2", "2", "97.00 ± 0.00 [97.00, 97.00]"),
        ("3@2", "2", "95.00 ± 1.41 [82.29, 107.71]"),
        ("1@2", "1", "50.00"),
        ("9@2", "0", "-"),
    ]
    assert cells[1][2].endswith("   2.000 ± 1.414 [-10.706, 14.706]  ")


def test_diverged_seeds_are_said_and_nothing_but_them_is_failed_work(tmp_path: Path) -> None:
    paths = SweepPaths(tmp_path, "small")
    console = Console(width=300)
    with console.capture() as capture:
        conclude(summarise(TWO), paths, console)
    assert capture.get().splitlines() == [
        "network 7@2: 1 of 3 seeds failed (diverged); they count in no mean",
        f"results: {paths.confirm}",
        f"picture: {paths.confirmed_png}",
    ]
    with pytest.raises(SweepError) as raised:
        conclude(summarise(DEAD), paths, console)
    assert raised.value.exit_code == 1
    assert raised.value.message.startswith("network 9@2: 2 of 2 seeds failed (diverged); they count in no mean\n")
    assert raised.value.message.endswith("\nno training finished: see the reasons above.")


def test_the_picture_shows_points_intervals_surface_and_reference() -> None:
    rows = [
        row(trial, seed, 0.9 + trial / 100 + seed / 1000, 0.02 * (trial + 1)) for trial in (0, 1) for seed in (0, 1)
    ]
    reference = Reference("paper, test", 0.93, 0.03)
    figure = confirmed_figure(summarise(rows), surfaces(rows), name="small", references=[reference])
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("remaining weights (%)", "test accuracy (%)")
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    (legend,) = figure.legends
    assert {text.get_text() for text in legend.get_texts()} == {
        "paper, test: 93.00 % at 3.00 %",
        "attainment surface, worst to best of 2 seeds",
        "attainment surface, median",
        "TRIAL@EPOCH: mean, 95 % Student t interval",
    }
    (bars,) = axes.containers
    points = np.asarray(bars[0].get_xydata())
    assert sorted(points.tolist()) == [pytest.approx([2, 90.05]), pytest.approx([4, 91.05])]
    (median,) = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    assert np.asarray(median.get_xydata())[:2].tolist() == [pytest.approx([2, 90.1]), pytest.approx([4, 91.1])]
    texts = {text.get_text() for text in axes.texts}
    assert {"0@2", "1@2", "2 networks with 2 seeds each; test set of digits"} <= texts


def test_a_picture_of_one_trial_with_one_seed_has_neither_intervals_nor_a_surface(tmp_path: Path) -> None:
    rows = [row(0, 0, 0.9)]
    figure = confirmed_figure(summarise(rows), surfaces(rows), name="small")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["TRIAL@EPOCH: one seed"]
    paths = SweepPaths(tmp_path, "small")
    paths.folder.mkdir()
    assert draw(paths, rows)
    with Image.open(paths.confirmed_png) as picture:
        assert picture.format == "PNG"


def test_there_is_no_picture_of_nothing(tmp_path: Path) -> None:
    assert not draw(SweepPaths(tmp_path, "small"), DEAD)
    assert list(tmp_path.iterdir()) == []
