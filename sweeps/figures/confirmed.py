"""Figure of confirmed networks: means with intervals, and attainment surfaces over the seeds."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from sweeps.analysis.attainment import Surfaces, surfaces
from sweeps.analysis.confirmed import INTERVAL_NAME, Confirmed, Row, summarise
from sweeps.figures import drawing, published
from sweeps.figures.drawing import Reference, draw_references, focus
from sweeps.objectives import network_name
from sweeps.store.paths import SweepPaths

# Okabe-Ito, as in `sweeps.figures.drawing`; vermillion is the reference's.
_BLACK, _BLUE, _SKY = "#000000", "#0072B2", "#56B4E9"
_NAMED_POINTS = 15
"""Maximum number of networks whose names are drawn without covering each other."""


def confirmed_figure(
    found: Sequence[Confirmed],
    attained: Surfaces | None,
    *,
    name: str,
    references: Sequence[Reference] = (),
) -> Figure:
    """Draws test accuracy against remaining weights, in percent, on a logarithmic axis.

    Args:
        found: Networks with at least one finished seed.
        attained: Their attainment surfaces; None draws the points only.
        name: Of the sweep.
        references: Points to compare with.
    """
    figure = Figure(figsize=(7.2, 4.8), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    points = 100 * np.array([(one.remaining.mean, one.test_accuracy.mean) for one in found], dtype=float)
    spans = 100 * np.array([_reach(one) for one in found], dtype=float)
    label = f"TRIAL@EPOCH: mean, {INTERVAL_NAME}" if spans.any() else "TRIAL@EPOCH: one seed"
    axes.errorbar(
        *points.T, xerr=spans[:, 0].T, yerr=spans[:, 1].T, fmt="o", color=_BLACK, label=label,
        markersize=3.5, elinewidth=1, capsize=2, zorder=4,
    )  # fmt: skip
    draw_references(axes, references)
    ends = np.concatenate([points, points - spans[:, :, 0], points + spans[:, :, 1]])
    focus(axes, points, ends, references)
    if attained:
        _draw_surfaces(axes, attained)
    if len(found) <= _NAMED_POINTS:
        _name_points(axes, found, points)
    axes.set_xlabel("remaining weights (%)")
    axes.set_ylabel("test accuracy (%)")
    axes.grid(visible=True, color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    axes.set_title(f"{name}: confirmed with fresh seeds\n", loc="left", fontweight="bold", fontsize=11)
    axes.text(0, 1.02, _subtitle(found), transform=axes.transAxes, va="bottom", fontsize=8, color="0.3")
    return figure


def _reach(one: Confirmed) -> tuple[tuple[float, float], ...]:
    """Lengths of the error bars below and above the means, along x and y."""
    reaches: list[tuple[float, float]] = []
    for interval in (one.remaining, one.test_accuracy):
        if interval.mean is None or interval.low is None or interval.high is None:
            reaches.append((0.0, 0.0))
        else:
            reaches.append((interval.mean - interval.low, interval.high - interval.mean))
    return tuple(reaches)


def _draw_surfaces(axes: Axes, attained: Surfaces) -> None:
    """The band between what all seeds and what any seed attain, and the median's step, up to the right edge."""
    right, bottom = axes.get_xlim()[1], axes.get_ylim()[0]
    across = np.append(100 * attained.remaining, max(right, 100 * float(attained.remaining[-1])))
    # What was not attained lies below everything that is shown.
    best, median, worst = (
        np.maximum(100 * np.append(surface, surface[-1]), bottom - 1)
        for surface in (attained.best, attained.median, attained.worst)
    )
    axes.fill_between(
        across, worst, best, step="post", color=_SKY, alpha=0.3, linewidth=0, zorder=1,
        label=f"attainment surface, worst to best of {attained.seeds} seeds",
    )  # fmt: skip
    axes.plot(
        across, median, drawstyle="steps-post", color=_BLUE, linewidth=1.4, zorder=2, label="attainment surface, median"
    )


def _name_points(axes: Axes, found: Sequence[Confirmed], points: np.ndarray) -> None:
    """Labels points with the names of their networks where labels do not overlap."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    inside = [
        (one.key, x, y)
        for one, (x, y) in zip(found, points.tolist(), strict=True)
        if left < x < right and bottom < y < top
    ]
    for key, x, y in inside:
        near = [other for other, ox, oy in inside if other != key and _close(axes, (x, y), (ox, oy))]
        if not any(other < key for other in near):
            style = {"textcoords": "offset points", "fontsize": 7.5, "color": "0.15", "zorder": 5}
            text = axes.annotate(network_name(key), (x, y), (4, 4), **style)
            text.set_path_effects([withStroke(linewidth=2, foreground="white")])  # intervals may run below it


def _close(axes: Axes, one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether the labels of two points would overlap."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    across = abs(np.log(one[0] / other[0])) / np.log(right / left)
    return across < 0.05 and abs(one[1] - other[1]) / (top - bottom) < 0.04


def _subtitle(found: Sequence[Confirmed]) -> str:
    counts = sorted({one.seeds for one in found})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    datasets = ", ".join(sorted({one.dataset for one in found}))
    networks = f"{len(found)} network{'' if len(found) == 1 else 's'}"
    return f"{networks} with {seeds} seed{'' if counts[-1] == 1 else 's'} each; test set of {datasets}"


def draw(paths: SweepPaths, rows: Sequence[Row]) -> bool:
    """Writes `confirmed.png` of all confirmed networks of a sweep; returns whether there was anything to draw."""
    found = [one for one in summarise(rows) if one.seeds]
    if not found:
        return False
    references = published.signed_supermask(rows)
    figure = confirmed_figure(found, surfaces(rows), name=paths.name, references=references)
    drawing.save(figure, paths.confirmed_png)
    return True
