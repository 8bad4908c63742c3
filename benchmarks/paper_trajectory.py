"""The trajectory of one published setting: FCN on MNIST, p 0.6, lr 0.1, wd 1e-4, gain sqrt(1.5), epoch by epoch.

    python benchmarks/paper_trajectory.py --json benchmarks/results/paper_trajectory.json

Figures to meet: those of the authors' TensorFlow code after epoch 1, and those of an independent prototype, which
trained on all 60,000 images; so this does too, but for 60. Test accuracy is looked at after every epoch here, since
nothing is chosen. `low` and `high` are the smallest and largest of the seeds, as ratios.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import record, script
from supermask import data
from supermask.config import TrainConfig
from supermask.pack import Pack
from supermask.program import compile_pays
from sweeps.driver.seeds import fresh_seeds

REPORTED = (
    # epoch, metric, figure
    (1, "test_accuracy", 0.941),
    (1, "remaining", 0.373),
    (5, "test_accuracy", 0.9645),  # the middle of 96.2 to 96.7 after the fourth to fifth
    (5, "remaining", 0.26),  # 29 % after the fourth, 26 % after the fifth
    (15, "test_accuracy", 0.974),
    (15, "remaining", 0.09),
)
err = Console(stderr=True, highlight=False)


def main(
    *,
    seeds: Annotated[int, typer.Option(min=1, help="Fresh seeds.")] = 10,
    json: Annotated[Path | None, typer.Option(help="Write the document of the run to this file.")] = None,
    data_root: Annotated[
        str | None, typer.Option("--data", help="Folder of datasets. Default: SUPERMASK_DATA.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    quick: Annotated[bool, typer.Option("--quick", help="One epoch of two seeds.")] = False,
) -> None:
    """Trains the setting with several seeds and prints where they are when the others were there."""
    torch.set_num_threads(1)
    place = script.device_of(device)
    images = data.load("mnist", data_root)
    shared = TrainConfig(pruning_rate=0.6, learning_rate=0.1, weight_decay=1e-4, validation_fraction=0.001)
    configs = [replace(shared, seed=seed) for seed in fresh_seeds(2 if quick else seeds, ())]
    pack = Pack(configs, images, device=place, compiled=compile_pays(shared, images, place) and not quick)
    rows: list[record.Row] = []
    for epoch in range(1, 2 if quick else 16):
        metrics = pack.train_epoch()
        found = {
            "test_accuracy": [test.accuracy for test in pack.evaluate("test")],
            "remaining": [lane.remaining for lane in metrics],
        }
        err.print(f"epoch {epoch}: " + ", ".join(f"{name} {sum(v) / len(v):.4f}" for name, v in found.items()))
        rows += [
            record.compare(f"{metric} after epoch {epoch}", found[metric], peer=[figure] * len(configs))
            for at, metric, figure in REPORTED
            if at == epoch
        ]
        if json:
            record.write(json, rows)
    table = Table("figure", "ours, median", "reported", "ratio", "low-high", "n")
    for row in rows:
        ours, peer = f"{100 * row['ours']:.2f} %", f"{100 * row['peer']:.2f} %"
        spread = f"{row['low']:.3f}-{row['high']:.3f}"
        table.add_row(row["case"], ours, peer, f"{row['ratio']:.3f}", spread, str(row["n"]))
    Console().print(table)


if __name__ == "__main__":
    script.start(main)
