"""How small a trained network's file is, and whether what is exported from it classifies as the pack does.

Trains an FCN on MNIST for a few epochs, so that scores and images are real. Then it hides all but the weights with the
greatest scores until the fraction in question remains, as longer training would; the accuracy of these networks says
nothing. The peer is the dense network: its weights in float32.
"""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import record, script
from benchmarks.record import Row
from supermask import data as datasets
from supermask.artifact import Artifact
from supermask.config import TrainConfig
from supermask.data import standardise
from supermask.layers import logits
from supermask.pack import Pack
from supermask.plain import plain_network
from sweeps.tracking import onnx_model

REMAINING = (0.03, 0.017)
IMAGES = 1000
err = Console(stderr=True, highlight=False)


def train(data: str | None, dtype: torch.dtype, *, epochs: int) -> Pack:
    """An FCN on MNIST."""
    config = TrainConfig(pruning_rate=0.78, learning_rate=0.1, epochs=epochs)
    pack = Pack([config], datasets.load("mnist", data), dtype=dtype)
    for _ in range(epochs):
        found = pack.train_epoch()[0]
        err.print(f"epoch {found.epoch}: {found.val_accuracy:.2%} at {found.remaining:.2%} remaining")
    return pack


def thinned(artifact: Artifact, scores: Mapping[str, Tensor], remaining: float) -> Artifact:
    """The network with only the weights of the greatest scores left."""
    masks = {}
    for name, mask in artifact.masks.items():
        size = scores[name].abs()
        bound = size.flatten().sort(descending=True).values[round(remaining * mask.numel())]
        masks[name] = torch.where(size > bound, torch.sign(scores[name]), 0).to(torch.int8)
    return replace(artifact, masks=masks)


def main(
    json: Annotated[Path | None, typer.Option(help="Write the record here.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="One epoch.")] = False,
    data: Annotated[str | None, typer.Option(help="Folder of datasets [env SUPERMASK_DATA].")] = None,
) -> None:
    """Prints the sizes of artifacts, and how many images the exported models classify as the pack does."""
    pack = train(data, torch.float32, epochs=1 if quick else 3)
    state = pack.state_dict()
    scores = {layer.name: state[f"{layer.name}.scores"][0] for layer in pack.network.layers}
    trained = Artifact.of(pack, 0, {})
    found = [trained, *(thinned(trained, scores, fraction) for fraction in REMAINING)]
    dense_bytes = 4 * pack.network.parameters
    rows = [_size(artifact, dense_bytes) for artifact in found]
    images = datasets.load("mnist", data).test_images[:IMAGES]
    for dtype in (torch.float32, torch.bfloat16):
        other = Pack(pack.configs, datasets.load("mnist", data), dtype=dtype)
        other.load_state_dict(state)
        rows += _agreeing(_predictions(other, images), trained, images, str(dtype).removeprefix("torch."))
    if json:
        record.write(json, rows)
    _print(rows)


def _size(artifact: Artifact, dense_bytes: int) -> Row:
    shown = sum(int((mask != 0).sum()) for mask in artifact.masks.values())
    case = f"FCN with {shown / artifact.network.parameters:.1%} remaining"
    size = len(artifact.to_bytes())
    return record.compare(case, [size], peer=[dense_bytes], lower_is_better=True, unit="bytes")


def _predictions(pack: Pack, images: Tensor) -> Tensor:
    """What the pack's own forward pass says."""
    states = pack._states  # pyright: ignore[reportPrivateUsage]
    weights, scales = [state.final() for state in states], [state.scale for state in states]
    with torch.no_grad():
        return logits(pack.network, weights, scales, standardise(images, pack.dtype))[0].argmax(dim=1)


def _agreeing(expected: Tensor, artifact: Artifact, images: Tensor, dtype: str) -> list[Row]:
    """Of the plain network and its ONNX model: how many images they classify as a pack of some dtype does."""
    network = plain_network(artifact)
    with torch.no_grad():
        plain = network(images).argmax(dim=1)
    model = onnx_model.run(onnx_model.convert(network, images), images.numpy())
    both = {"plain network": plain, "ONNX model": torch.from_numpy(model).argmax(dim=1)}
    return [
        record.compare(
            f"{name} and {dtype} pack agree", [int((found == expected).sum())], peer=[len(images)], unit="images"
        )
        for name, found in both.items()
    ]


def _print(rows: list[Row]) -> None:
    table = Table("case", "ours", "peer", "ratio", "unit")
    for row in rows:
        table.add_row(row["case"], f"{row['ours']:,}", f"{row['peer']:,}", f"{row['ratio']:.4g}", row["unit"])
    console = Console()
    console.print(table)
    console.print("peer: the dense weights in float32; all images", highlight=False)


if __name__ == "__main__":
    script.start(main)
