"""A picture of the first layer's mask, the only one whose inputs are pixels (arXiv 2201.13361, figure 1)."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

# Okabe-Ito: told apart by the colour-blind.
_KEPT, _INVERTED, _HIDDEN = "#0072B2", "#D55E00", "#FFFFFF"
_STATES = ListedColormap([_INVERTED, _HIDDEN, _KEPT])
_SIGNED = LinearSegmentedColormap.from_list("signed", [_INVERTED, _HIDDEN, _KEPT])
_AMOUNT = LinearSegmentedColormap.from_list("amount", [_HIDDEN, "#8FD0BB", "#009E73", "#00382A"])
_EDGE, _GAP = "#8A8A8A", "#5A5A5A"
_NEURONS = 16
_MOST_KERNELS, _MOST_CHANNELS = 256, 4

Shape = tuple[int, int, int]


def mask_figure(masks: Mapping[str, Tensor], shape: Shape, *, title: str) -> Figure:
    """Draws the first layer's mask: over the image if it is fully connected, else its kernels.

    Args:
        masks: By layer name, from input to output, entries -1, 0 and +1.
        shape: `(channels, height, width)` of an image.
        title: What was trained; followed by what remains of it.
    """
    name, first = next(iter(masks.items()))
    mask = first.numpy().astype(np.int8)
    figure = _pixels(mask.reshape(-1, *shape)) if mask.ndim == 2 else _kernels(mask)
    text = f"{title}: {remaining(masks)}\n{name}: {_meaning(mask, shape)}"
    figure.suptitle(text, x=0.01, ha="left", fontsize=11)
    handles = [
        Patch(facecolor=colour, edgecolor=_EDGE, linewidth=0.6, label=label)
        for colour, label, state in ((_KEPT, "kept", 1), (_INVERTED, "inverted", -1), (_HIDDEN, "hidden", 0))
        if state >= 0 or (mask == state).any()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def remaining(masks: Mapping[str, Tensor]) -> str:
    """How much remains, of the whole network and of the layer that is drawn."""
    counts = [(int((mask != 0).sum()), mask.numel()) for mask in masks.values()]
    whole = sum(shown for shown, _ in counts) / sum(size for _, size in counts)
    shown, size = counts[0]
    return f"{100 * whole:.2f} % of all weights remain, {100 * shown / size:.2f} % in {next(iter(masks))}"


def _meaning(mask: np.ndarray, shape: Shape) -> str:
    """What is drawn of a layer."""
    if mask.ndim == 2:
        channels = f" in {shape[0]} channels" if shape[0] > 1 else ""
        return f"share of each pixel's {len(mask)} outgoing weights{channels}, and single neurons"
    outputs, inputs, height, width = mask.shape
    shown, channels = min(outputs, _MOST_KERNELS), min(inputs, _MOST_CHANNELS)
    some = "" if (shown, channels) == (outputs, inputs) else f"; {shown} of each of {channels} channels are drawn"
    return f"{outputs} kernels of {height}x{width} for each of {inputs} input channel{'s' if inputs > 1 else ''}{some}"


def _pixels(mask: np.ndarray) -> Figure:
    """A fully connected layer: what its pixels keep, and single neurons."""
    inverts = bool((mask < 0).any())  # without an inverted weight the balance is what remains
    figure = Figure(figsize=(11 if inverts else 7.6, 4.7), dpi=150, layout="constrained")
    *maps, neurons_axes = figure.subplots(1, 3 if inverts else 2, width_ratios=(1, 1, 1.12)[-3 if inverts else -2 :])
    amount_axes = maps[-1]
    amount = (mask != 0).mean(axis=(0, 1))
    if inverts:
        balance = mask.mean(axis=(0, 1))
        limit = float(np.abs(balance).max()) or 1.0
        _heat(figure, maps[0], 100 * balance, cmap=_SIGNED, low=-100 * limit, high=100 * limit)
        maps[0].set_title("kept minus inverted", fontsize=10)
    _heat(figure, amount_axes, 100 * amount, cmap=_AMOUNT, low=0, high=max(100 * float(amount.max()), 1e-9))
    amount_axes.set_title("remaining", fontsize=10)
    for axes in maps:
        axes.set_xlabel("pixel column", fontsize=9)
        axes.set_ylabel("pixel row", fontsize=9)
    _neurons(neurons_axes, mask)
    return figure


def _heat(figure: Figure, axes: Axes, values: np.ndarray, *, cmap: Any, low: float, high: float) -> None:
    image = axes.imshow(values, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, format="%g %%")
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_edgecolor(_EDGE)  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
    axes.tick_params(labelsize=8)


def _neurons(axes: Axes, mask: np.ndarray) -> None:
    """The neurons with most weights left, as images beside each other; several channels side by side."""
    left = (mask != 0).sum(axis=(1, 2, 3))
    chosen = np.argsort(-left, kind="stable")[:_NEURONS]
    tiles = np.stack([np.concatenate(list(neuron), axis=1) for neuron in mask[chosen]])
    _draw_tiles(axes, tiles, columns=max(1, round(math.sqrt(len(tiles) * tiles.shape[1] / tiles.shape[2]))))
    axes.set_title(f"the {len(chosen)} neurons with most weights left", fontsize=10)
    axes.set_xlabel(f"{int((left == 0).sum())} of {len(mask)} neurons have none left", fontsize=9)


def _kernels(mask: np.ndarray) -> Figure:
    """A convolution: all kernels of each input channel."""
    channels, shown = min(mask.shape[1], _MOST_CHANNELS), min(len(mask), _MOST_KERNELS)
    figure = Figure(figsize=(3.7 * max(channels, 2), 4.9), dpi=150, layout="constrained")
    every = figure.subplots(1, channels, squeeze=False)[0]
    names = ("red", "green", "blue") if mask.shape[1] == 3 else tuple(f"{n + 1}" for n in range(channels))
    for channel, axes in enumerate(every):
        _draw_tiles(axes, mask[:shown, channel], columns=math.ceil(math.sqrt(shown)))
        part = mask[:, channel]
        axes.set_title("grey" if mask.shape[1] == 1 else f"input channel: {names[channel]}", fontsize=10)
        kept, inverted = (100 * float((part == sign).mean()) for sign in (1, -1))
        axes.set_xlabel(f"{kept:.1f} % kept, {inverted:.1f} % inverted", fontsize=9)
    every[0].set_ylabel("output channels, row by row", fontsize=9)
    return figure


def _draw_tiles(axes: Axes, tiles: np.ndarray, *, columns: int) -> None:
    """Small images in a grid, with lines between them."""
    count, height, width = tiles.shape
    rows = math.ceil(count / columns)
    canvas = np.full((rows * height, columns * width), np.nan)
    for place, tile in enumerate(tiles):
        row, column = divmod(place, columns)
        canvas[row * height : (row + 1) * height, column * width : (column + 1) * width] = tile
    axes.imshow(canvas, cmap=_STATES, vmin=-1, vmax=1, interpolation="nearest")
    for row in range(rows + 1):
        axes.axhline(row * height - 0.5, color=_GAP if 0 < row < rows else _EDGE, linewidth=0.8)
    for column in range(columns + 1):
        axes.axvline(column * width - 0.5, color=_GAP if 0 < column < columns else _EDGE, linewidth=0.8)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
