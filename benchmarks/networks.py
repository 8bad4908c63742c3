"""What it costs to judge the network of every epoch, and to keep those that nobody beats: share of the training time.

Packs train in this process, and the code of a sweep's worker takes their networks. Nobody else's network beats them, as
at the start of a sweep, when the most are kept. An epoch of Conv8 takes half an hour of such a machine: it is timed on
a few images, and its time is that of 45,000.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import record, script
from benchmarks.record import Row
from search_spaces.load import load as load_space
from supermask.data import Dataset, load
from supermask.pack import Pack
from sweeps.objectives import Objectives
from sweeps.search.sampling import sample
from sweeps.worker.messages import Lane, PackOrder
from sweeps.worker.networks import PackNetworks

REPORT_SECONDS = 1.0
"""Time between two reports of a worker, which take what was kept."""
_CONV8_TRAINED = 45_000
err = Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class Case:
    """A pack to train.

    Attributes:
        scale: How many times as long an epoch takes as it does on the images at hand.
    """

    name: str
    space: str
    lanes: int
    epochs: int
    images: Callable[[], Dataset]
    scale: float = 1.0


def measure(case: Case, seed: int) -> dict[str, Any]:
    """Seconds of training and of all else, networks kept, and bytes of one."""
    path = record.REPOSITORY / "search_spaces" / f"{case.space}.yaml"
    space = load_space(path, overrides={"sampler.seed": seed, "fixed.epochs": case.epochs})
    configs = sample(space, case.lanes)
    pack = Pack(configs, case.images())
    lanes = tuple(Lane(number, 1, config) for number, config in enumerate(configs))
    objectives = Objectives.of(replace(space, constraints=()))  # which what is learnt of made-up images may not keep
    networks = PackNetworks(objectives, PackOrder(0, lanes, len(lanes), rivals=()))
    training = beside = 0.0
    sizes, reported = list[int](), time.perf_counter()
    for epoch in range(case.epochs):
        started = time.perf_counter()
        measured = pack.train_epoch()
        trained = time.perf_counter()
        for network in networks.judge(pack, measured):
            networks.keep(pack, network)
        if time.perf_counter() - reported > REPORT_SECONDS or epoch == case.epochs - 1:
            sizes += map(len, networks.take().values())
            reported = time.perf_counter()
        training += case.scale * (trained - started)
        beside += time.perf_counter() - trained
    return {"share": 100 * beside / training, "kept": len(sizes), "bytes": max(sizes, default=0)}


def cases(data: Path | None) -> list[Case]:
    """What a full run measures."""
    return [
        Case("digits, FCN of width 0.3", "fcn_digits", 16, 30, lambda: load("digits")),
        Case("MNIST, FCN", "fcn_mnist", 8, 2, lambda: load("mnist", data)),
        Case("CIFAR-10, Conv8", "conv8_cifar10", 1, 1, made_up_cifar, scale=_CONV8_TRAINED / 1_800),
    ]


def made_up_cifar() -> Dataset:
    """2,000 images in the shape of CIFAR-10, of which 1,800 are trained on."""
    generator = torch.Generator().manual_seed(0)

    def part(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        images = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
        return images, torch.randint(10, (count,), generator=generator)

    return Dataset("cifar10", *part(2_000), *part(500), 10)


def main(
    json: Annotated[Path | None, typer.Option(help="Write the record here.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Three epochs of the digits, once.")] = False,
    data: Annotated[Path | None, typer.Option(help="Folder of datasets [env SUPERMASK_DATA].")] = None,
) -> None:
    """Prints the share of the training time that networks take."""
    repetitions = 1 if quick else 5
    rows = list[Row]()
    for case in [Case("digits", "fcn_digits", 2, 3, lambda: load("digits"))] if quick else cases(data):
        found = [measure(case, seed) for seed in range(repetitions)]
        extra = {"unit": "%", "kept": max(one["kept"] for one in found), "bytes_each": found[0]["bytes"]}
        what = f"{case.name}, {case.lanes} lanes, {case.epochs} epochs: share of the training time"
        rows.append(record.alone(what, [one["share"] for one in found], **extra))
        err.print(f"{case.name}: {rows[-1]['ours']:.2f} %, {extra['kept']} kept of {extra['bytes_each']:,} bytes each")
    if json:
        record.write(json, rows)
    further = {"kept": lambda row: str(row["kept"]), "bytes_each": lambda row: f"{row['bytes_each']:,}"}
    Console().print(record.table(rows, **further))


if __name__ == "__main__":
    script.start(main)
