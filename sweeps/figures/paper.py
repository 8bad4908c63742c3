"""Figures for a column of a paper: 3.3 inches wide, without a title, readable in grey."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from sweeps.figures import drawing
from sweeps.figures.drawing import Reference
from sweeps.objectives import Directions
from sweeps.pareto import Table

WIDTH_INCHES = 3.3
_POINTS = 7.0
"""Font size; journals ask for 6 at least."""
# Okabe-Ito, dark to light, each with a dash and a marker of its own, so that grey print tells them apart.
_LINES = (("#000000", "-", "o"), ("#D55E00", "--", "s"), ("#0072B2", ":", "^"), ("#009E73", "-.", "D"))


def front_figure(
    networks: Table, front: Table, objectives: Directions, *, references: Sequence[Reference] = ()
) -> Figure:
    """Draws `drawing.front_figure` at column width, without a title: the caption belongs to the paper."""
    with _small():
        figure = _canvas()
        axes = figure.add_subplot()
        drawing.draw_networks_and_front(axes, networks, front, objectives, references=references)
        drawing.draw_legend(figure, columns=1, size=_POINTS)
    return figure


def fronts_figure(fronts: Mapping[str, Table], objectives: Directions) -> Figure:
    """Draws the fronts of several sweeps in one figure.

    Args:
        fronts: From `sweeps.pareto.front`, by the sweep's name; of more than four the lines come again.
        objectives: What they are the fronts of.
    """
    across, up = drawing.axes_of(objectives)
    step = drawing.step_of(objectives, across)
    drawn = {name: _rising(drawing.points_of(front, across, up)) for name, front in fronts.items()}
    with _small():
        figure = _canvas()
        axes = figure.add_subplot()
        for place, (name, points) in enumerate(drawn.items()):
            colour, dash, marker = _LINES[place % len(_LINES)]
            look = {"color": colour, "marker": marker, "markersize": 2.5, "linewidth": 1, "label": name}
            look |= {"linestyle": dash, "drawstyle": step} if step else {"linestyle": "none"}
            axes.plot(points[:, 0], points[:, 1], **look)
        if (across, up) in (("remaining", "val_accuracy"), ("remaining", "test_accuracy")):
            every = np.concatenate(list(drawn.values()))
            drawing.focus(axes, every, every, ())
        drawing.draw_frame(axes, across, up)
        drawing.draw_legend(figure, columns=2, size=_POINTS)
    return figure


def _rising(points: np.ndarray) -> np.ndarray:
    return points[np.argsort(points[:, 0])]


def _canvas() -> Figure:
    return Figure(figsize=(WIDTH_INCHES, 2.8), dpi=300, layout="constrained")


def _small() -> AbstractContextManager[None]:
    sizes = dict.fromkeys(("font.size", "axes.labelsize", "xtick.labelsize", "ytick.labelsize"), _POINTS)
    return rc_context({**sizes, "axes.linewidth": 0.6, "lines.markersize": 4})
