"""Lane-steps per second of a pack, against an eager loop, a DataLoader loop and torch.func.vmap.

    python benchmarks/step.py --networks fcn --json benchmarks/results/step.json

All sides train the same networks on the same images in one process tree, their repetitions in turn.
Before anything is timed, they are shown to compute the same scores. A ratio above 1 means that the
pack is faster. Steps are timed without validation, except in the row `epoch`. The eager loop's two
settings (one process with all threads, one process of one thread per core) are both timed, and
the better one is the peer. On a CPU a pack has one thread and there is one per core, as in a sweep; K counts the
lanes of one of them.
"""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import agreement, limits, record, script
from benchmarks.limits import Limits
from benchmarks.ours import PackLoop, compiled, eager
from benchmarks.peers import DataLoaderLoop, PlainLoop, VmapLoop, plain
from benchmarks.processes import Processes
from benchmarks.record import Row
from benchmarks.timing import Contender, EpochLoop, Loop, in_turn, sized
from benchmarks.workload import DATASETS, Workload, find_images, first, free_memory_bytes
from supermask.config import NETWORKS, RESNETS, TrainConfig
from supermask.cost import lane_cost
from supermask.data import Dataset
from supermask.program import compiler_present, default_dtype

MEMORY_FRACTION = 0.6
"""Share of the free memory that one contender may take by its estimate."""
VMAP_MEMORY = 2.0
"""Estimated memory of a float32 vmap lane over that of a float32 lane of ours: it keeps more intermediates."""
EPOCH_SECONDS = 6.0
"""Longest epoch of a pack that is timed as a whole."""
QUICK_IMAGES = 6000
_PLAIN = [name for name in NETWORKS if name not in RESNETS]
"""Networks that the peers know: without residual paths."""

err = Console(stderr=True)


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        device: Where.
        lanes: Sizes of packs.
        repeats: Repetitions of each contender.
        seconds: Length of a repetition, about.
        compiled: Whether packs are compiled.
        quick: Whether a rough figure is enough.
    """

    device: torch.device
    lanes: tuple[int, ...]
    repeats: int
    seconds: float
    compiled: bool
    quick: bool

    @property
    def packs(self) -> int:
        """Packs that train side by side."""
        return len(os.sched_getaffinity(0)) if self.device.type == "cpu" else 1

    @property
    def dtype(self) -> torch.dtype:
        """Of the pack's products."""
        return default_dtype(self.device)


def measure(work: Workload, settings: Settings, machine: Limits) -> tuple[list[Row], Contender, dict[int, Contender]]:
    """Steps of one network.

    Returns:
        The rows, the better eager contender, and ours by number of lanes.
    """
    eager, loader = _eager(work, settings), _loader(work, settings)
    ours: dict[int, Contender] = {}
    stacked: dict[int, Contender] = {}
    for lanes in settings.lanes:
        if _fits(work, settings, lanes, vmapped=False):
            ours[lanes] = _pack(work, settings, lanes)
        if lanes in ours and _fits(work, settings, lanes, vmapped=True):
            stacked[lanes] = _vmap(work, settings, lanes)
    contenders = [*eager, loader, *(side[lanes] for lanes in ours for side in (ours, stacked) if lanes in side)]
    _run(work.network, contenders, settings)
    best = max(eager, key=lambda contender: contender.rate)
    rows: list[Row] = []
    for lanes, own in ours.items():
        peers = {"eager": best, "dataloader": loader} | ({"vmap": stacked[lanes]} if lanes in stacked else {})
        rows += _rows(work, own, peers=peers, settings=settings, machine=machine)
    for contender in contenders:
        if contender is not best:
            contender.loop.close()
    return rows, best, ours


def measure_epoch(work: Workload, settings: Settings, best: Contender, ours: dict[int, Contender]) -> list[Row]:
    """Whole epochs with validation, at the fastest number of lanes whose epoch is short enough to repeat.

    Returns:
        A row against one model at a time, as a user's script trains it, and one against the better eager setting.
    """
    work = Workload(work.network, work.width, first(work.images, QUICK_IMAGES)) if settings.quick else work
    steps = len(work.images.train_labels) // work.batch_size
    short = [k for k in ours if k * settings.packs * steps / ours[k].rate <= EPOCH_SECONDS] or [min(ours)]
    lanes = max(short, key=lambda k: ours[k].rate)
    pack = _pack_loop(work.configs(lanes * settings.packs), work.images, settings)
    peers: dict[str, PlainLoop | Processes] = {
        "one model": PlainLoop(work.configs(1)[0], work.images, device=settings.device)
    }
    if best.loop.lanes > 1:
        peers[best.name] = Processes(plain, [[config] for config in work.configs(best.loop.lanes)], work.images)
    own, *theirs = [
        Contender("pack", EpochLoop(pack.lanes, pack.epoch, pack.close), 1, 1, 0.0),
        *(Contender(name, EpochLoop(peer.lanes, peer.epoch, peer.close), 1, 1, 0.0) for name, peer in peers.items()),
    ]
    for side in (own, *theirs):
        side.loop.steps()  # compiles the validation
    _run(f"{work.network} epoch", [own, *theirs], settings)
    for side in (own, *theirs):
        side.loop.close()
    return [
        record.compare(
            f"{work.network} epoch, {side.name}",
            [1 / rate for rate in own.rates],
            peer=[1 / rate for rate in side.rates],
            lower_is_better=True,
            unit="seconds per lane and epoch, with validation",
            lanes=lanes,
            packs=settings.packs,
            peer_name=side.name,
            **_about(work, settings),
        )
        for side in theirs
    ]


def _eager(work: Workload, settings: Settings) -> list[Contender]:
    def single(steps: int) -> Loop:
        configs, images = work.cut(steps, 1)
        return PlainLoop(configs[0], images, device=settings.device)

    if settings.device.type == "cuda":
        return [_sized("eager", single, work, settings)]
    threads, cores = torch.get_num_threads(), len(os.sched_getaffinity(0))

    def together_loop(steps: int) -> Loop:
        configs, images = work.cut(steps, cores)
        return Processes(plain, [[config] for config in configs], images)

    alone = _sized(f"eager, processes: 1, threads: {threads}", single, work, settings)
    if cores == 1:
        return [alone]
    together = _sized(f"eager, processes: {cores}, threads: 1", together_loop, work, settings)
    return [alone, together]


def _loader(work: Workload, settings: Settings) -> Contender:
    """With the faster number of workers: none, the default, or 2."""

    def make(steps: int, workers: int) -> Loop:
        configs, images = work.cut(steps, 1)
        return DataLoaderLoop(configs[0], images, device=settings.device, workers=workers)

    sides = [
        _sized(f"DataLoader, workers: {workers}", lambda steps, n=workers: make(steps, n), work, settings)
        for workers in (0, 2)
    ]
    for _ in in_turn(sides, repeats=2):
        pass
    better = max(sides, key=lambda side: side.rate)
    for side in sides:
        side.rates.clear()
        if side is not better:
            side.loop.close()
    return better


def _pack(work: Workload, settings: Settings, lanes: int) -> Contender:
    def make(steps: int) -> Loop:
        return _pack_loop(*work.cut(steps, lanes * settings.packs), settings)

    return _sized(f"pack, K={lanes}", make, work, settings)


def _pack_loop(configs: Sequence[TrainConfig], images: Dataset, settings: Settings) -> PackLoop | Processes:
    """As a sweep trains: on a CPU one pack of one thread per core."""
    if settings.packs == 1:
        return PackLoop(configs, images, device=settings.device, compiled=settings.compiled)
    lanes = len(configs) // settings.packs
    groups = [configs[start : start + lanes] for start in range(0, len(configs), lanes)]
    return Processes(compiled if settings.compiled else eager, groups, images)


def _vmap(work: Workload, settings: Settings, lanes: int) -> Contender:
    return _sized(
        f"vmap, K={lanes}", lambda steps: VmapLoop(*work.cut(steps, lanes), device=settings.device), work, settings
    )


def _sized(name: str, make: Callable[[int], Loop], work: Workload, settings: Settings) -> Contender:
    err.print(f"{work.network}: preparing {name}")
    return sized(name, make, most_steps=work.most_steps, seconds=settings.seconds)


def _fits(work: Workload, settings: Settings, lanes: int, *, vmapped: bool) -> bool:
    dtype, factor = (torch.float32, VMAP_MEMORY) if vmapped else (settings.dtype, 1.0)
    needed = lanes * factor * lane_cost(work.shapes, batch_size=work.batch_size, dtype=dtype).memory_bytes
    free = free_memory_bytes(settings.device)
    if needed <= MEMORY_FRACTION * free:
        return True
    side = "vmap" if vmapped else "pack"
    err.print(
        f"{work.network}: skipping {side}, K={lanes}: it would take about {needed / 2**30:.1f} GiB, and "
        f"{free / 2**30:.1f} GiB are free"
    )
    return False


def _run(title: str, contenders: Sequence[Contender], settings: Settings) -> None:
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task(f"{title}: measuring", total=settings.repeats * len(contenders))
        for contender in in_turn(contenders, repeats=settings.repeats):
            progress.update(task, advance=1, description=f"{title}: {contender.name}")


def _rows(
    work: Workload, own: Contender, *, peers: dict[str, Contender], settings: Settings, machine: Limits
) -> list[Row]:
    least = machine.seconds(lane_cost(work.shapes, batch_size=work.batch_size, dtype=settings.dtype))
    return [
        record.compare(
            f"{work.network}, K={own.loop.lanes // settings.packs}, {kind}",
            own.rates,
            peer=peer.rates,
            unit="lane-steps per second",
            lanes=own.loop.lanes // settings.packs,
            packs=settings.packs,
            peer_name=peer.name,
            **_about(work, settings),
            compile_seconds=own.first_seconds if settings.compiled else None,
            over_limit=1 / own.rate / least,
        )
        for kind, peer in peers.items()
    ]


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _about(work: Workload, settings: Settings) -> Row:
    return {"dtype": _name(settings.dtype), "images": f"{work.images.name}, {len(work.images.train_labels)}"}


def _table(rows: Sequence[Row]) -> Table:
    table = Table("case", "ours", "peer", "ratio", "low-high", "over limit")
    for row in rows:
        over = f"{row['over_limit']:.1f}" if "over_limit" in row else ""
        spread = f"{row['low']:.2f}-{row['high']:.2f}"
        table.add_row(row["case"], f"{row['ours']:.3g}", f"{row['peer']:.3g}", f"{row['ratio']:.2f}", spread, over)
    return table


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in _PLAIN]:
        raise typer.BadParameter(f"must be out of {', '.join(_PLAIN)}, but got {unknown[0]!r}.")
    return names


def _numbers(text: str) -> tuple[int, ...]:
    numbers = [int(part) for part in text.split(",") if part.isdecimal()]
    if len(numbers) != text.count(",") + 1 or min(numbers) < 1:
        raise typer.BadParameter(f"must be whole numbers from 1 on, as in 1,8,32, but got {text!r}.")
    return tuple(dict.fromkeys(numbers))


def main(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="A rough figure in about two minutes.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the document of the run to this file.")] = None,
    networks: Annotated[str, typer.Option(help="Which, with commas. Default: all; fcn if quick.")] = "",
    lanes: Annotated[str, typer.Option(help="Sizes of packs, with commas. Default: 1,8,32,128; 1,8 if quick.")] = "",
    repeats: Annotated[int, typer.Option(min=5, help="Repetitions of each side.")] = 5,
    data: Annotated[str | None, typer.Option(help="Folder of the datasets. Default: SUPERMASK_DATA.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    dataset: Annotated[str | None, typer.Option(help="Train on this one instead of MNIST and CIFAR-10.")] = None,
    width: Annotated[float, typer.Option(help="Factor on all hidden widths.")] = 1.0,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="Compile packs where possible.")] = True,
) -> None:
    """Measures lane-steps per second of packs against what a user would write instead."""
    chosen = _names(networks or ("fcn" if quick else ",".join(_PLAIN)))
    sizes = _numbers(lanes or ("1,8" if quick else "1,8,32,128"))
    place = script.device_of(device)
    settings = Settings(place, sizes, repeats, 0.2 if quick else 1.2, compiled and compiler_present(place), quick)
    found: dict[str, Dataset] = {}
    rows: list[Row] = []
    machine = limits.measure(place, settings.dtype, seconds=settings.seconds)
    measured = {
        "matmul_gflops": round(machine.flops_per_second / 1e9, 1),
        "matmul_dtype": _name(settings.dtype),
        "copy_gb_per_second": round(machine.bytes_per_second / 1e9, 2),
    }
    for network in chosen:
        name = dataset or DATASETS.get(network, "cifar10-jpeg")
        if name not in found:
            found[name] = find_images(name, data)
            err.print(f"{network}: {len(found[name].train_labels)} images, {found[name].name}")
        work = Workload(network, width, found[name])
        err.print(f"{network}: all sides agree within {agreement.check(work):.0e} in float64")
        new, best, ours = measure(work, settings, machine)
        rows += new
        if network == "fcn":
            rows += measure_epoch(work, settings, best, ours)
        best.loop.close()
        if json:
            record.write(json, rows, measured=measured)
    out = Console()
    out.print(_table(rows))
    out.print(
        "ours, peer: lane-steps per second; epoch: seconds per lane. over limit: time of a lane-step over the least "
        "that this machine's matrix product "
        f"({measured['matmul_gflops']} GFLOP/s, {measured['matmul_dtype']}) and copy "
        f"({measured['copy_gb_per_second']} GB/s) allow.",
        highlight=False,
    )


if __name__ == "__main__":
    script.start(main)
