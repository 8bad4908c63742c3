"""Learning curves of one training: losses, accuracy, remaining weights in total and by layer."""

from collections.abc import Sequence

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from supermask.metrics import EpochMetrics, Evaluation

_BLUE, _VERMILLION, _GREEN, _BLACK = "#0072B2", "#D55E00", "#009E73", "#000000"
_OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#B0A000")
"""Told apart by the colour-blind; of a deeper network the layers' colours run from the first to the last."""
_MARKED = 30
"""Maximum number of epochs that get a marker each."""


def curves_figure(epochs: Sequence[EpochMetrics], test: Evaluation | None, *, title: str, subtitle: str = "") -> Figure:
    """Draws the epochs of one training.

    Args:
        epochs: Metrics after each epoch.
        test: On the test set after the last epoch, or None.
        title: The first line.
        subtitle: What was trained, and how it ended.
    """
    figure = Figure(figsize=(10, 7), dpi=150, layout="constrained")
    (loss_axes, accuracy_axes), (mask_axes, layer_axes) = figure.subplots(2, 2, sharex=True)
    _line(loss_axes, epochs, [epoch.train_loss for epoch in epochs], _BLUE, "training")
    _line(loss_axes, epochs, [epoch.val_loss for epoch in epochs], _VERMILLION, "validation")
    loss_axes.set_ylabel("loss (nats)")
    _line(accuracy_axes, epochs, [100 * epoch.val_accuracy for epoch in epochs], _VERMILLION, "validation")
    if test:
        label = f"test: {100 * test.accuracy:.2f} %"
        accuracy_axes.plot([epochs[-1].epoch], [100 * test.accuracy], "*", color=_BLACK, markersize=11, label=label)
    accuracy_axes.set_ylabel("accuracy (%)")
    _line(mask_axes, epochs, [100 * epoch.remaining for epoch in epochs], _GREEN, "remaining")
    _line(mask_axes, epochs, [100 * epoch.inverted for epoch in epochs], _VERMILLION, "inverted")
    mask_axes.set_ylabel("weights of all layers (%)")
    _layers(figure, layer_axes, epochs)
    for axes in (loss_axes, accuracy_axes, mask_axes, layer_axes):
        axes.grid(visible=True, color="0.9", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=8)
    for axes in (mask_axes, layer_axes):
        axes.set_xlabel("epoch")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    text = f"{title}\n" + subtitle
    figure.suptitle(title if not subtitle else text, x=0.01, ha="left", fontsize=11)
    return figure


def _layers(figure: Figure, axes: Axes, epochs: Sequence[EpochMetrics]) -> None:
    """Remaining weights by layer; a colour bar replaces the legend of a deep network."""
    names = [layer.name for layer in epochs[-1].layers]
    few = len(names) <= len(_OKABE_ITO)
    colours = _OKABE_ITO if few else [colormaps["viridis"](place / (len(names) - 1)) for place in range(len(names))]
    for place, name in enumerate(names):
        values = [100 * epoch.layers[place].remaining for epoch in epochs]
        _line(axes, epochs, values, colours[place], name if few else "")
    if names and not few:
        scale = ScalarMappable(Normalize(1, len(names)), "viridis")
        bar = figure.colorbar(scale, ax=axes, label=f"layer, from {names[0]} (1) to {names[-1]} ({len(names)})")
        bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("remaining weights of each layer (%)")


def _line(axes: Axes, epochs: Sequence[EpochMetrics], values: Sequence[float], colour: object, label: str) -> None:
    marker = {"marker": "o", "markersize": 3} if len(epochs) <= _MARKED else {}
    axes.plot([epoch.epoch for epoch in epochs], values, color=colour, linewidth=1.5, label=label or None, **marker)
