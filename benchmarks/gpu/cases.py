"""The cases: each is one loop on one network, measured by itself and kept in a file of its own."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from benchmarks.ours import PackLoop
from benchmarks.peers import DataLoaderLoop, PlainLoop
from benchmarks.processes import Processes
from benchmarks.record import Row
from benchmarks.timing import Loop, sized
from benchmarks.workload import Workload, free_memory_bytes
from supermask.config import TrainConfig
from supermask.cost import lane_cost
from supermask.data import Dataset
from supermask.program import compiler_present, default_dtype

PACK, TUNED, DOCUMENTED = "pack", "tuned", "documented"
"""Ours, and the stock trainable tuned by hand (images on the device) and as documented (a DataLoader)."""


@dataclass(frozen=True)
class Case:
    """What to measure.

    Attributes:
        network: As in `TrainConfig.network`.
        kind: One of the constants of this module.
        count: Lanes of the pack, or processes that share the device.
    """

    network: str
    kind: str
    count: int

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.network}-{self.kind}-{self.count}"


def all_cases(networks: Sequence[str], *, lanes: Sequence[int], processes: Sequence[int]) -> Iterator[Case]:
    """Every case, the most telling ones first: they may be all there is time for."""
    for network in networks:
        for kind in (TUNED, DOCUMENTED):
            yield Case(network, kind, 1)
        for count in lanes:
            yield Case(network, PACK, count)
        for kind in (TUNED, DOCUMENTED):
            for count in processes:
                yield Case(network, kind, count)


def measure(
    case: Case,
    *,
    images_of: Callable[[str], Dataset],
    device: torch.device,
    width: float,
    repeats: int,
    seconds: float,
) -> Row:
    """Lane-steps per second of one case.

    Returns:
        `rates` of the repetitions; `compile_seconds`, the time of the first call; and `memory_gib`, the most that was
        taken on the device.

    Raises:
        MemoryError: If the lanes need more memory than is free.
    """
    work = Workload(case.network, width, images_of(case.network))
    if case.kind == PACK:
        cost = lane_cost(work.shapes, batch_size=work.batch_size, dtype=default_dtype(device))
        needed, free = cost.memory_bytes * case.count / 2**30, free_memory_bytes(device) / 2**30
        if needed > free:  # drawing so many lanes takes minutes, to no end
            raise MemoryError(f"{case.count} lanes need {needed:.0f} GiB, and {free:.0f} are free")

    def make(steps: int) -> Loop:
        configs, part = work.cut(steps, case.count)
        if case.kind == PACK:
            # On a CPU this is a rehearsal: minutes of compiling would show nothing.
            return PackLoop(configs, part, device=device, compiled=device.type == "cuda" and compiler_present(device))
        loop = partial(_tuned if case.kind == TUNED else _documented, device=device)
        if case.count == 1:
            return loop(configs, part)
        return Processes(loop, [[config] for config in configs], part)

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    found = sized(case.name, make, most_steps=work.most_steps, seconds=seconds)
    for _ in range(repeats):
        found.repeat()
    found.loop.close()
    taken = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
    return {"rates": found.rates, "compile_seconds": found.first_seconds, "memory_gib": taken}


def _tuned(configs: Sequence[TrainConfig], images: Dataset, *, device: torch.device) -> PlainLoop:
    return PlainLoop(configs[0], images, device=device)


def _documented(configs: Sequence[TrainConfig], images: Dataset, *, device: torch.device) -> DataLoaderLoop:
    return DataLoaderLoop(configs[0], images, device=device, workers=0)
