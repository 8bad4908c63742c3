"""Scatter plots of trials and their front."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib import rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from sweeps.errors import SweepError
from sweeps.objectives import ACCURACIES, Directions, Objectives, network_name
from sweeps.pareto import Table, judged
from sweeps.store.paths import replacing

# Okabe-Ito: told apart by the colour-blind, and in grey print by lightness and marker.
_BLUE, _VERMILLION, _GREY = "#0072B2", "#D55E00", "#8A8A8A"
_REFERENCE_MARKERS = "*PXDv"
_Step = Literal["steps-post", "steps-pre"] | None
_SUFFIXES = (".png", ".svg", ".pdf")

_LABELS = {
    "val_accuracy": ("validation accuracy (%)", 100.0),
    "test_accuracy": ("test accuracy (%)", 100.0),
    "remaining": ("remaining weights (%)", 100.0),
    "inverted": ("inverted weights (%)", 100.0),
    "train_loss": ("training loss (nats)", 1.0),
    "val_loss": ("validation loss (nats)", 1.0),
    "test_loss": ("test loss (nats)", 1.0),
}
"""Axis label of a metric, and the factor from stored to drawn values."""

_CROWD, _MOST_DOTS = 2000, 50_000
"""Number of dots above which they are rasterized in an SVG or PDF, which would otherwise take megabytes."""

_WINDOW_POINTS = (5.0, 15.0)
"""Minimum and maximum depth of the window below the front's best accuracy, in percentage points."""


@dataclass(frozen=True)
class Reference:
    """A published or measured point to compare with.

    Attributes:
        label: What it is and of which data, for the legend.
        accuracy: Fraction in [0, 1].
        remaining: Fraction of weights that the mask does not hide, (0, 1].
    """

    label: str
    accuracy: float
    remaining: float


def front_figure(
    networks: Table,
    front: Table,
    objectives: Directions,
    *,
    title: str,
    subtitle: str = "",
    references: Sequence[Reference] = (),
    recommended: Table | None = None,
) -> Figure:
    """Draws the networks of a sweep and their front, each where its estimate has it.

    Accuracy against remaining weights gets a logarithmic axis, the references, and a window on the part worth reading;
    how many networks lie outside it is said in the picture. Of more than two objectives the first two are drawn.

    Args:
        networks: All of the sweep; of more than `_MOST_DOTS` an even choice is drawn.
        front: Their front, from `sweeps.pareto.front`.
        objectives: What the front is of.
        title: The first line.
        subtitle: What the numbers are: networks, trials, validation or test.
        references: Points to compare with; drawn only beside accuracy against remaining weights.
        recommended: The one network to take, if there is one; it gets a ring.
    """
    figure = Figure(figsize=(7.2, 4.8), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    draw_networks_and_front(axes, networks, front, objectives, references=references)
    if recommended is not None:
        _draw_ring(axes, recommended, *axes_of(objectives))
    draw_legend(figure, columns=2)
    axes.set_title(f"{title}\n", loc="left", fontweight="bold", fontsize=11)
    axes.text(0, 1.02, subtitle, transform=axes.transAxes, va="bottom", fontsize=8, color="0.3")
    return figure


def draw_networks_and_front(
    axes: Axes, networks: Table, front: Table, objectives: Directions, *, references: Sequence[Reference] = ()
) -> None:
    """Draws the axes of `front_figure`."""
    across, up = axes_of(objectives)
    _draw_networks(axes, networks, across, up)
    if front.num_rows:
        _draw_front(axes, points_of(front, across, up), step=step_of(objectives, across))
    else:
        axes.text(0.5, 0.5, "no network on the front", transform=axes.transAxes, ha="center", color="0.4")
    if across == "remaining" and up in ACCURACIES:
        draw_references(axes, references)
        focus(axes, points_of(networks, across, up), points_of(front, across, up), references)
    draw_frame(axes, across, up)


def draw_frame(axes: Axes, across: str, up: str) -> None:
    """Names the axes and draws a grid."""
    axes.set_xlabel(label_of(across))
    axes.set_ylabel(label_of(up))
    axes.grid(visible=True, color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def draw_legend(figure: Figure, *, columns: int, size: float = 8) -> None:
    """Draws the legend below the only axes, at a font size in points, unless it would be empty."""
    if figure.axes[0].get_legend_handles_labels()[0]:
        legend = figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=size)
        for handle in legend.legend_handles:
            if handle is not None:
                handle.set_alpha(1)  # The dots of a crowd are too faint to be seen one by one.


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG, SVG or PDF, by the path's suffix; readers see the old file or the new one, whole.

    Raises:
        SweepError: If the suffix is none of these.
    """
    if path.suffix not in _SUFFIXES:
        raise SweepError(f"{path}: must end in {', '.join(_SUFFIXES)}, but ends in {path.suffix!r}. Rename it.")
    kind = path.suffix.removeprefix(".")
    # Journals want TrueType fonts inside, and the same figure to be the same file.
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    with rc_context({"pdf.fonttype": 42, "svg.hashsalt": "sweeps"}), replacing(path) as temporary:
        figure.savefig(temporary, format=kind, metadata=undated)


def as_png(figure: Figure) -> bytes:
    """A figure as the content of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def axes_of(objectives: Directions) -> tuple[str, str]:
    """Columns of the x and y axes."""
    metrics = list(objectives)[:2]
    if len(metrics) == 1:
        return "trial", metrics[0]
    first, second = metrics
    return (first, second) if first == "remaining" and second in ACCURACIES else (second, first)


def label_of(column: str) -> str:
    """Axis label of a metric, with its unit."""
    return _LABELS.get(column, (column, 1.0))[0]


def factor_of(column: str) -> float:
    """Factor from stored values to this unit."""
    return _LABELS.get(column, (column, 1.0))[1]


def points_of(table: Table, across: str, up: str) -> np.ndarray:
    """Finite points of a table in drawn units, of shape [point, 2]; accuracy is the estimate, where there is one."""
    scales = [factor_of(column) for column in (across, up)]
    points = np.column_stack([judged(table, across), judged(table, up)]) * scales
    return points[np.isfinite(points).all(axis=1)]


def step_of(objectives: Directions, across: str) -> _Step:
    """Draw style of the staircase between points of a front; None for other than two objectives."""
    if len(objectives) != 2:
        return None
    return "steps-post" if Objectives(objectives).sign(across) > 0 else "steps-pre"


def _draw_networks(axes: Axes, networks: Table, across: str, up: str) -> None:
    points = points_of(networks, across, up)
    if not len(points):
        return
    label = _count(len(points), "network")
    points = points[np.unique(np.linspace(0, len(points) - 1, min(len(points), _MOST_DOTS)).astype(int))]
    # Thousands of full-sized dots would run into one grey plain.
    crowd = min(1.0, (400 / len(points)) ** 0.5)
    size = max(4, 14 * crowd) * (rcParams["lines.markersize"] / 6) ** 2
    colour = to_rgba(_GREY, max(0.15, 0.55 * crowd))
    dots = axes.scatter(points[:, 0], points[:, 1], s=size, label=label, zorder=2, color=[colour], linewidths=0)
    dots.set_rasterized(len(points) > _CROWD)


def _draw_front(axes: Axes, points: np.ndarray, *, step: _Step) -> None:
    points = points[np.argsort(points[:, 0])]
    (line,) = axes.plot(points[:, 0], points[:, 1], color=_BLUE, linewidth=1.6, marker="o", zorder=3)
    line.set_markersize((4 if len(points) < 100 else 2.5) * rcParams["lines.markersize"] / 6)
    line.set_label(f"front, {_count(len(points), 'network')}")
    if step:
        line.set_drawstyle(step)
    else:
        line.set_linestyle("none")


def _draw_ring(axes: Axes, recommended: Table, across: str, up: str) -> None:
    points = points_of(recommended, across, up)
    trial, epoch = (recommended.column(name)[0].as_py() for name in ("trial", "epoch"))
    label = f"recommended: {network_name((trial, epoch))}"
    look = {"facecolors": "none", "edgecolors": "black", "linewidths": 1.4}
    axes.scatter(points[:, 0], points[:, 1], s=110, label=label, zorder=5, **look)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def draw_references(axes: Axes, references: Sequence[Reference]) -> None:
    """Marks reference points, on axes in percent."""
    for index, reference in enumerate(references):
        x, y = 100 * reference.remaining, 100 * reference.accuracy
        marker = _REFERENCE_MARKERS[index % len(_REFERENCE_MARKERS)]
        label = f"{reference.label}: {y:.2f} % at {x:.2f} %"
        size = 3.6 * rcParams["lines.markersize"] ** 2
        axes.scatter([x], [y], s=size, marker=marker, color=_VERMILLION, edgecolors="black", zorder=4, label=label)


def focus(axes: Axes, networks: np.ndarray, front: np.ndarray, references: Sequence[Reference]) -> None:
    """Sets a logarithmic x axis and the window, and annotates how many networks lie outside."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    marks = np.array([(100 * point.remaining, 100 * point.accuracy) for point in references]).reshape(-1, 2)
    (left, right), (bottom, top) = window(networks, front, marks)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    inside = (networks >= (left, bottom)).all(axis=1) & (networks <= (right, top)).all(axis=1)
    outside = len(networks) - int(inside.sum())
    if outside:
        text = f"{outside:,} of {_count(len(networks), 'network')} outside this window"
        # Beside the axis' name where there is room, else below it.
        down, size = (-24, 7.5) if rcParams["font.size"] >= 10 else (-31, 6)
        place = {"xycoords": "axes fraction", "xytext": (0, down), "textcoords": "offset points"}
        axes.annotate(text, (1, 0), ha="right", va="top", fontsize=size, color="0.3", **place)


def window(
    networks: np.ndarray, front: np.ndarray, marks: np.ndarray
) -> tuple[tuple[float, float], tuple[float, float]]:
    """The part of the picture worth reading, for arrays of (remaining, accuracy) in percent.

    It reaches up to the best point, and down to the lower fifth of the front's accuracies (of a short front: the
    lowest), within `_WINDOW_POINTS` of the front's best, and to every reference. The collapsed networks at the sparse
    end of a front would squeeze everything else into a line.

    Returns:
        The limits across and up.
    """
    shown = np.concatenate([networks, front, marks])
    shown = shown[shown[:, 0] > 0]  # A network without weights has no place on a logarithmic axis.
    if not len(shown):
        return (0.1, 100.0), (0.0, 100.0)
    best = float(shown[:, 1].max())
    anchor = front[:, 1] if len(front) else shown[:, 1]
    low = float(np.quantile(anchor, 0.2 if len(anchor) > 5 else 0.0))
    highest, lowest = float(anchor.max()) - np.array(_WINDOW_POINTS)
    low = max(float(np.clip(low, lowest, highest)), float(shown[:, 1].min()))
    low = min([low, *marks[:, 1].tolist()])
    margin = max(0.06 * (best - low), 0.5)
    bottom, top = max(low - margin, -0.5), min(best + margin, 100.5)
    seen = shown[shown[:, 1] >= bottom, 0]
    left, right = float(seen.min()) / 1.3, min(float(seen.max()) * 1.3, 105.0)
    if right / left < 4:
        left, right = left / 2, min(right * 2, 105.0)
    return (left, right), (bottom, top)
