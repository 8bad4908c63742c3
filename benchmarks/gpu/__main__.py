"""One command for every question about a GPU. It can be called again and again: what is measured is kept."""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from benchmarks import limits, record, script
from benchmarks.gpu import cases, table
from benchmarks.limits import Limits
from benchmarks.record import Row
from benchmarks.workload import DATASETS, find_images, first
from supermask.data import Dataset
from supermask.program import default_dtype

NETWORKS = ("fcn", "conv4", "conv8", "conv2", "conv6")
err = Console(stderr=True, highlight=False)


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
    began, place = time.monotonic(), script.device_of(device)
    dtype, width = default_dtype(place), 0.1 if quick else 1.0
    repeats, seconds = (2, 0.002) if quick else (5, 1.0)
    images: dict[str, Dataset] = {}
    measured: dict[cases.Case, Row] = {}
    with tempfile.TemporaryDirectory() as temporary:
        kept = folder or Path(temporary)
        kept.mkdir(parents=True, exist_ok=True)
        peak = _peak(kept / "peak.json", place, dtype, seconds=seconds)
        wanted = cases.all_cases(
            ("fcn",) if quick else NETWORKS,
            lanes=(1, 2) if quick else (1, 8, 32, 128, 512, 2048),
            processes=(2,) if quick else (4, 8, 16),
        )
        left = 0
        for case in wanted:
            file = kept / f"{case.name}.json"
            if case.network not in images:
                found = find_images(DATASETS.get(case.network, "cifar10-jpeg"), data)
                images[case.network] = first(found, 1000) if quick else found
            if not file.exists():
                if time.monotonic() - began > 60 * minutes:
                    left += 1
                    continue
                new = cases.measure(
                    case, images[case.network], device=place, width=width, repeats=repeats, seconds=seconds
                )
                cases.keep(file, new)
                err.print(f"{case.name}: {max(new['rates']):,.0f} lane-steps/s" if new["rates"] else f"{case.name}: -")
                if place.type == "cuda":
                    torch.cuda.empty_cache()
            measured[case] = json.loads(file.read_text(encoding="utf-8"))
    rows = table.rows(measured, images, peak, width=width, dtype=dtype)
    if json_file:
        about = {
            "matmul_gflops": round(peak.flops_per_second / 1e9, 1),
            "copy_gb_per_second": round(peak.bytes_per_second / 1e9, 2),
        }
        record.write(json_file, rows, measured=about)
    out = Console()
    out.print(table.short(rows))
    if left:
        out.print(f"{left} cases are left: call again with the same --folder.", highlight=False)


def _peak(file: Path, device: torch.device, dtype: torch.dtype, *, seconds: float) -> Limits:
    if not file.exists():
        cases.keep(file, vars(limits.measure(device, dtype, seconds=seconds)))
    return Limits(**json.loads(file.read_text(encoding="utf-8")))


if __name__ == "__main__":
    sys.path.insert(0, str(record.REPOSITORY))
    script.start(main)
