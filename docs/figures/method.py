"""Draws `docs/images/method.png`: what the scores of a layer are at the start and at the end of a training.

    python docs/figures/method.py

The network is an FCN that this script trains on scikit-learn's digits, in some seconds on a CPU.
"""

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from supermask.config import TrainConfig
from supermask.data import load
from supermask.metrics import EpochMetrics
from supermask.pack import Pack
from sweeps.store.paths import replacing

CONFIG = TrainConfig(
    network="fcn",
    dataset="digits",
    epochs=60,
    batch_size=64,
    validation_fraction=0.2,
    pruning_rate=0.5,
    learning_rate=0.1,
    weight_decay=2e-3,
    weight_gain=1.0,
)
LAYER = 0
IMAGE = Path(__file__).resolve().parents[1] / "images" / "method.png"
_KEPT, _HIDDEN, _INVERTED = "#0072B2", "#BBBBBB", "#D55E00"


def scores_of(pack: Pack) -> tuple[np.ndarray, float]:
    """Scores and threshold of a layer of the only lane."""
    state, layer = pack.state_dict(), pack.network.layers[LAYER].name
    return state[f"{layer}.scores"][0].flatten().double().numpy(), float(state[f"{layer}.threshold"][0])


def draw_scores(axes: Axes, scores: np.ndarray, threshold: float, title: str) -> None:
    """A histogram of scores, coloured by what the mask makes of them."""
    limit = 1.05 * max(np.abs(scores).max(), threshold)
    edges = np.concatenate([np.linspace(-limit, -threshold, 16), np.linspace(-threshold, threshold, 33)[1:]])
    edges = np.concatenate([edges, np.linspace(threshold, limit, 16)[1:]])
    regions = (
        ("invert, -1", -np.inf, -threshold, _INVERTED, "\\\\\\"),
        ("hide, 0", -threshold, threshold, _HIDDEN, ""),
        ("keep, +1", threshold, np.inf, _KEPT, "///"),
    )
    for label, low, high, colour, hatch in regions:
        inside = scores[(scores >= low) & (scores < high)]
        share = f"{label}: {100 * len(inside) / len(scores):.1f} %"
        axes.hist(inside, bins=edges.tolist(), color=colour, hatch=hatch, edgecolor="white", linewidth=0, label=share)
    for place in (-threshold, threshold):
        axes.axvline(place, color="black", linestyle="--", linewidth=1)
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel("score; dashed: the threshold, which never moves")
    axes.set_ylabel("weights of the first layer")
    axes.set_yscale("log")
    axes.set_ylim(0.7, 1e5)  # room for the legend
    axes.legend(frameon=False, fontsize=9, loc="upper left")


def draw_epochs(axes: Axes, epochs: list[EpochMetrics]) -> None:
    """What remains of the whole network, and its accuracy, over the training."""
    numbers = [epoch.epoch for epoch in epochs]
    axes.plot(numbers, [100 * epoch.val_accuracy for epoch in epochs], color="black", label="validation accuracy")
    remaining = [100 * epoch.remaining for epoch in epochs]
    axes.plot(numbers, remaining, color=_KEPT, linestyle="--", label="remaining weights")
    axes.set_title(f"All layers: {remaining[-1]:.1f} % of the weights remain", loc="left", fontsize=10)
    axes.set(xlabel="epoch", ylabel="%", ylim=(0, 100))
    axes.legend(frameon=False, fontsize=8)


def main(out: Annotated[Path, typer.Option(help="The picture.")] = IMAGE) -> None:
    """Trains and draws."""
    pack = Pack([CONFIG], load("digits"))
    before, epochs = scores_of(pack), list[EpochMetrics]()
    while pack.epoch < CONFIG.epochs:
        epochs += pack.train_epoch()
    figure = Figure(figsize=(12, 3.6), dpi=130, layout="constrained")
    first, second, third = figure.subplots(1, 3)
    draw_scores(first, *before, "Scores at the start")
    draw_scores(second, *scores_of(pack), f"Scores after {CONFIG.epochs} epochs")
    draw_epochs(third, epochs)
    for axes in (first, second, third):
        axes.spines[["top", "right"]].set_visible(False)
    with replacing(out) as temporary:
        figure.savefig(temporary, format="png")


if __name__ == "__main__":
    typer.run(main)
