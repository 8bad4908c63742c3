from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from sweeps.errors import SweepError
from sweeps.figures import drawing
from sweeps.figures.drawing import Reference, front_figure, save, window
from sweeps.objectives import Directions
from sweeps.pareto import front

DEFAULT = {"val_accuracy": "maximize", "remaining": "minimize"}


def table(rows: Sequence[tuple[float | None, float | None]]) -> pa.Table:
    """Networks at points of (estimate, remaining); the accuracy of their epochs lies elsewhere."""
    columns = {
        "trial": pa.array(range(len(rows)), pa.int64()),
        "epoch": pa.array([7] * len(rows), pa.int64()),
        "val_accuracy": pa.array([0.5 for _ in rows], pa.float64()),
        "estimate": pa.array([row[0] for row in rows], pa.float64()),
        "remaining": pa.array([row[1] for row in rows], pa.float64()),
        "val_loss": pa.array([row[0] for row in rows], pa.float64()),
    }
    return pa.table(columns)


NETWORKS = table([(0.97, 0.04), (0.95, 0.02), (0.93, 0.03), (0.92, 0.30), (0.10, 0.05), (0.2, None)])


def draw(networks: pa.Table, objectives: Directions = DEFAULT, *, references: Sequence[Reference] = ()) -> Figure:
    shown = front(networks, objectives)
    return front_figure(networks, shown, objectives, title="T", subtitle="S", references=references)


def texts(figure: Figure) -> list[str]:
    labels = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return labels + [text.get_text() for text in figure.axes[0].texts]


def offsets(axes: Axes) -> list[list[list[float]]]:
    return [np.asarray(dots.get_offsets()).tolist() for dots in axes.collections]


def test_the_default_picture_shows_percent_on_a_log_axis_with_the_front_as_a_step() -> None:
    figure = draw(NETWORKS, references=[Reference("paper, test", 0.9748, 0.0377)])
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("remaining weights (%)", "validation accuracy (%)")
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    dots, reference = offsets(axes)
    assert dots == [pytest.approx(point) for point in ([4, 97], [2, 95], [3, 93], [30, 92], [5, 10])]
    assert reference == [pytest.approx([3.77, 97.48])]
    (line,) = axes.lines
    assert np.asarray(line.get_xydata()).tolist() == [pytest.approx([2, 95]), pytest.approx([4, 97])]
    assert line.get_drawstyle() == "steps-post"
    assert texts(figure) == [
        "5 networks",
        "front, 2 networks",
        "paper, test: 97.48 % at 3.77 %",
        "1 of 5 networks outside this window",
        "S",
    ]
    assert axes.get_title(loc="left").strip() == "T"


def test_of_a_crowd_an_even_choice_of_faint_dots_is_drawn_and_all_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drawing, "_MOST_DOTS", 1000)
    many = table([(0.5 + place / 10_000, 0.1) for place in range(3001)])
    figure = draw(many)
    (dots,) = figure.axes[0].collections
    assert len(np.asarray(dots.get_offsets())) == 1000
    assert np.asarray(dots.get_facecolor())[:, 3].max() < 0.55
    assert "3,001 networks" in texts(figure)


def test_one_network_is_no_plural_and_nothing_is_said_of_networks_outside_when_all_are_inside() -> None:
    assert texts(draw(NETWORKS.slice(0, 3))) == ["3 networks", "front, 2 networks", "S"]
    assert texts(draw(NETWORKS.slice(0, 1))) == ["1 network", "front, 1 network", "S"]


def test_the_order_of_the_objectives_does_not_turn_the_picture() -> None:
    axes = draw(NETWORKS, {"remaining": "minimize", "val_accuracy": "maximize"}).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("remaining weights (%)", "validation accuracy (%)")


def test_other_objectives_have_plain_axes_and_no_reference() -> None:
    objectives = {"val_loss": "minimize", "trial": "maximize"}
    figure = draw(NETWORKS, objectives, references=[Reference("paper", 0.9, 0.1)])
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("trial", "validation loss (nats)")
    assert axes.get_xscale() == "linear"
    assert len(axes.collections) == 1  # the dots alone
    assert axes.lines[0].get_drawstyle() == "steps-pre"


def test_one_objective_is_drawn_over_the_trials_and_three_without_a_step() -> None:
    single = draw(NETWORKS, {"val_accuracy": "maximize"}).axes[0]
    assert (single.get_xlabel(), single.get_ylabel()) == ("trial", "validation accuracy (%)")
    three = draw(NETWORKS, {**DEFAULT, "val_loss": "minimize"}).axes[0]
    assert (single.lines[0].get_linestyle(), three.lines[0].get_linestyle()) == ("None", "None")


@pytest.mark.parametrize("objectives", [DEFAULT, {"val_accuracy": "maximize"}])
def test_a_sweep_without_a_front_says_so(objectives: Directions, tmp_path: Path) -> None:
    figure = draw(NETWORKS.slice(0, 0), objectives)
    assert "no network on the front" in texts(figure)
    assert not figure.axes[0].lines
    save(figure, tmp_path / "front.png")
    with Image.open(tmp_path / "front.png") as image:
        assert image.size == (1080, 720)


def test_networks_that_keep_no_bound_are_not_denied() -> None:
    shown = texts(front_figure(NETWORKS, NETWORKS.slice(0, 0), DEFAULT, title="T"))
    assert shown[-3:-1] == ["no network on the front", "1 of 5 networks outside this window"]


def points(*pairs: tuple[float, float]) -> np.ndarray:
    return np.array(pairs, dtype=float).reshape(-1, 2)


def test_the_window_leaves_the_collapsed_end_of_a_front_out() -> None:
    shown = points(*[(0.01 * 2**n, min(98.0, 10 + 11 * n)) for n in range(12)])
    (left, right), (bottom, top) = window(shown, shown, points())
    assert bottom == pytest.approx(83 - 0.06 * 15)  # 15 points below the best of 98, and a margin.
    assert 98 < top <= 100.5
    assert left == pytest.approx(0.01 * 2**7 / 1.3)
    assert right == pytest.approx(0.01 * 2**11 * 1.3)


def test_the_window_holds_a_short_front_every_reference_and_better_networks() -> None:
    networks, marks = points((5, 60), (50, 70), (20, 90)), points((0.6, 30))
    (left, right), (bottom, top) = window(networks, networks[:2], marks)
    assert left < 0.6
    assert right > 50
    assert bottom < 30
    assert top > 90


def test_the_window_of_a_flat_front_shows_what_lies_a_little_below_it() -> None:
    flat = points(*[(n, 90 + n / 10) for n in range(1, 8)])
    (_, _), (bottom, _) = window(np.concatenate([flat, points((5, 10))]), flat, points())
    assert bottom == pytest.approx(90.7 - 5 - 0.5)
    (_, _), (bottom, _) = window(np.concatenate([flat, points((5, 88))]), flat, points())
    assert bottom == pytest.approx(88 - 0.5)


@pytest.mark.parametrize("only", [points((10, 97)), points((100, 100)), points((1e-3, 0.0))])
def test_the_window_around_one_point_has_room(only: np.ndarray) -> None:
    (left, right), (bottom, top) = window(only, only, points())
    assert left < only[0, 0] < right
    assert bottom < only[0, 1] < top
    assert right / left > 2


def test_the_window_without_anything_to_show_is_the_whole_range() -> None:
    nothing = points((0, 10))
    assert window(nothing, nothing, points()) == ((0.1, 100.0), (0.0, 100.0))


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_saving_replaces_the_file_whole(tmp_path: Path, suffix: str, start: bytes) -> None:
    path = tmp_path / f"front{suffix}"
    path.write_text("old")
    save(draw(NETWORKS), path)
    assert path.read_bytes().startswith(start)
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "front.png"
    path.write_text("old")

    def fail(_: Figure, where: Path, **__: object) -> None:
        where.write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        save(draw(NETWORKS), path)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("front.png", "old")]


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"front.jpg: must end in .png, .svg, .pdf, but ends in '.jpg'. Rename it."):
        save(draw(NETWORKS), tmp_path / "front.jpg")
    assert not list(tmp_path.iterdir())


def test_the_recommended_network_has_a_ring_and_is_named() -> None:
    figure = front_figure(NETWORKS, front(NETWORKS, DEFAULT), DEFAULT, title="T", recommended=NETWORKS.slice(1, 1))
    ring = figure.axes[0].collections[-1]
    assert np.asarray(ring.get_offsets()).tolist() == [pytest.approx([2, 95])]
    assert len(np.asarray(ring.get_facecolor())) == 0  # hollow: the dot within it stays seen
    assert "recommended: 1@7" in texts(figure)
