import math

import pytest
from matplotlib.axes import Axes

from supermask.metrics import EpochMetrics, Evaluation, LayerFractions
from sweeps.figures.curves import curves_figure
from sweeps.figures.drawing import as_png


def epochs(count: int, layers: int, **changes: float) -> list[EpochMetrics]:
    found: list[EpochMetrics] = []
    for epoch in range(1, count + 1):
        fractions = tuple(LayerFractions(f"conv{n + 1}", 0.5 / (n + epoch), 0.1) for n in range(layers))
        values = {"train_loss": 1 / epoch, "val_loss": 2 / epoch, "val_accuracy": 0.5, "remaining": 0.25} | changes
        found.append(EpochMetrics(lane=0, epoch=epoch, inverted=0.1, seconds=1.0, layers=fractions, **values))
    return found


def labels(axes: Axes) -> list[str]:
    return list(axes.get_legend_handles_labels()[1])


def test_each_panel_says_what_it_shows() -> None:
    figure = curves_figure(epochs(3, 2), Evaluation(0, 0.1, 0.875), title="s, trial 5", subtitle="fcn on digits")
    loss, accuracy, mask, layer = figure.axes
    assert figure.get_suptitle() == "s, trial 5\nfcn on digits"
    assert [labels(axes) for axes in figure.axes] == [
        ["training", "validation"],
        ["validation", "test: 87.50 %"],
        ["remaining", "inverted"],
        ["conv1", "conv2"],
    ]
    assert [axes.get_ylabel() for axes in (loss, accuracy, mask)] == [
        "loss (nats)", "accuracy (%)", "weights of all layers (%)",
    ]  # fmt: skip
    assert layer.lines[1].get_ydata() == pytest.approx([25, 50 / 3, 12.5])
    assert layer.get_xlabel() == "epoch"


def test_a_deep_network_has_a_scale_of_colours_in_place_of_names() -> None:
    figure = curves_figure(epochs(40, 30), None, title="T")
    assert labels(figure.axes[3]) == []
    assert len(figure.axes[3].lines) == 30
    assert figure.axes[4].get_ylabel() == "layer, from conv1 (1) to conv30 (30)"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_training_that_diverged_at_once_can_be_drawn(value: float) -> None:
    figure = curves_figure(epochs(1, 3, train_loss=value, val_loss=value), None, title="T", subtitle="diverged")
    assert as_png(figure).startswith(b"\x89PNG")
