"""One command for every question about a GPU. It can be called again and again: what is measured is kept."""

import functools
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import limits, record, script
from benchmarks.gpu import cases, convolutions, table
from benchmarks.gpu.kept import Kept
from benchmarks.limits import Limits
from benchmarks.workload import DATASETS, find_images, first
from supermask.data import Dataset
from supermask.program import default_dtype

NETWORKS = ("conv4", "conv8", "conv2", "conv6")
"""Measured after FCN."""


def main(
    *,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the record here.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Keep measured cases here, and go on from them.")] = None,
    minutes: Annotated[float, typer.Option(help="Begin no case after this time.", min=0.1)] = 8.0,
    device: Annotated[str, typer.Option(help="cuda or cpu.")] = "cuda",
    data: Annotated[str | None, typer.Option(help="Folder of datasets [env SUPERMASK_DATA]; else drawn ones.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Toy size: narrow networks, few images.")] = False,
) -> None:
    """Lane-steps per second, share of the device's peak, and ratios to processes that share the device."""
    place, width = script.device_of(device), 0.1 if quick else 1.0
    dtype, repeats, seconds = default_dtype(place), 2 if quick else 5, 0.002 if quick else 1.0
    layers = convolutions.TOY if quick else convolutions.LAYERS

    @functools.cache
    def images_of(network: str) -> Dataset:
        found = find_images(DATASETS.get(network, "cifar10-jpeg"), data)
        return first(found, 1000) if quick else found

    def wanted(*networks: str) -> Iterator[cases.Case]:
        lanes, processes = ((1, 2), (2,)) if quick else ((1, 8, 32, 128, 512, 2048), (4, 8, 16))
        return cases.all_cases(networks, lanes=lanes, processes=processes)

    with tempfile.TemporaryDirectory() as temporary:
        kept = Kept(folder or Path(temporary), place, minutes=minutes)
        peak = kept.get("peak", lambda: vars(limits.measure(place, dtype, seconds=seconds)))
        if not peak or "reason" in peak:
            raise typer.BadParameter(f"--device {device} must multiply matrices, but got: {peak}.")
        speed = Limits(**peak)
        train = partial(cases.measure, images_of=images_of, device=place, width=width, repeats=repeats, seconds=seconds)
        convolve = partial(convolutions.measure, layers=layers, device=place, dtype=dtype, repeats=repeats)
        measured = kept.all(wanted("fcn"), train)
        forms = kept.all(
            convolutions.all_cases(layers, lanes=(2,) if quick else (8, 32, 128)),
            partial(convolve, seconds=seconds / 5),
        )
        measured |= kept.all(wanted(*([] if quick else NETWORKS)), train)
    images = {case.network: images_of(case.network) for case in measured}
    rows = table.rows(measured, images, speed, width=width, dtype=dtype)
    rows += convolutions.rows(forms, layers, speed)
    if json_file:
        about = {
            "matmul_gflops": round(speed.flops_per_second / 1e9, 1),
            "copy_gb_per_second": round(speed.bytes_per_second / 1e9, 2),
        }
        record.write(json_file, rows, measured=about)
    out = Console()
    out.print(table.short(rows))
    if kept.left:
        out.print(f"{kept.left} cases are left: call again with the same --folder.", highlight=False)


if __name__ == "__main__":
    sys.path.insert(0, str(record.REPOSITORY))
    script.start(main)
