from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from sweeps import pareto
from sweeps.figures import drawing
from sweeps.figures.drawing import Reference
from sweeps.figures.paper import front_figure, fronts_figure
from tests.sweeps.conftest import last_networks

EndedRow = Callable[..., dict[str, Any]]
OBJECTIVES = {"val_accuracy": "maximize", "remaining": "minimize"}


@pytest.fixture
def networks(ended_row: EndedRow) -> pa.Table:
    return last_networks(ended_row(trial) for trial in range(5))


def test_a_column_is_3_3_inches_wide_and_its_text_7_points_high(networks: pa.Table, tmp_path: Path) -> None:
    front = pareto.front(networks, OBJECTIVES)
    figure = front_figure(networks, front, OBJECTIVES, references=[Reference("paper, test", 0.88, 0.2)])
    axes = figure.axes[0]
    assert figure.get_figwidth() == 3.3
    assert axes.get_title(loc="left") == ""
    texts = [axes.xaxis.label, axes.yaxis.label, *axes.get_xticklabels(), *figure.legends[0].get_texts()]
    assert {text.get_fontsize() for text in texts} == {7}
    drawing.save(figure, tmp_path / "f.png")
    with Image.open(tmp_path / "f.png") as image:
        assert image.size == (990, 840)


def test_fonts_are_embedded_and_files_do_not_change(networks: pa.Table, tmp_path: Path) -> None:
    for kind in ("pdf", "svg"):
        contents = []
        for _ in range(2):
            drawing.save(fronts_figure({"one": networks}, OBJECTIVES), tmp_path / f"f.{kind}")
            contents.append((tmp_path / f"f.{kind}").read_bytes())
        assert contents[0] == contents[1]
    assert b"/FontFile2" in (tmp_path / "f.pdf").read_bytes()  # TrueType, inside
    assert b"/Type3" not in (tmp_path / "f.pdf").read_bytes()
    assert b"<text" not in (tmp_path / "f.svg").read_bytes()  # letters are outlines


def test_a_crowd_is_one_image_inside_a_vector_figure(tmp_path: Path) -> None:
    many = pa.table(
        {
            "trial": np.arange(5000),
            "epoch": np.ones(5000, dtype=int),
            "val_accuracy": np.linspace(0.5, 0.9, 5000),
            "remaining": np.linspace(0.1, 0.9, 5000),
        }
    )
    drawing.save(front_figure(many, many.slice(0, 3), OBJECTIVES), tmp_path / "f.svg")
    assert (tmp_path / "f.svg").stat().st_size < 200_000


def test_fronts_differ_in_dash_and_marker_not_in_colour_alone(networks: pa.Table) -> None:
    figure = fronts_figure({"a": networks, "b": networks.slice(1), "c": networks, "d": networks}, OBJECTIVES)
    lines = figure.axes[0].lines
    assert [line.get_label() for line in lines] == ["a", "b", "c", "d"]
    assert len({line.get_linestyle() for line in lines}) == len({str(line.get_marker()) for line in lines}) == 4
    assert all(line.get_drawstyle() == "steps-post" for line in lines)
    assert np.asarray(lines[0].get_xydata())[0].tolist() == pytest.approx([10, 86])


def test_three_objectives_have_no_steps(networks: pa.Table) -> None:
    (line,) = fronts_figure({"a": networks}, {"val_loss": "minimize", **OBJECTIVES}).axes[0].lines
    assert line.get_linestyle() == "None"
