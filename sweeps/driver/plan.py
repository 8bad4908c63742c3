"""Before anything starts: is the space trainable here, in which packs, and for how long?"""

import itertools
import math
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from search_spaces.space import SearchSpace
from supermask import data
from supermask.config import TrainConfig
from supermask.cost import lane_cost
from supermask.data import Dataset
from supermask.initialisers import TERNARY_INITS
from supermask.models import build
from supermask.network import Network
from supermask.pack import Pack
from supermask.probe import excerpt
from supermask.program import compile_pays, default_dtype
from sweeps.driver.options import Options
from sweeps.errors import SweepError
from sweeps.search.sampling import sample
from sweeps.signals import GRACE_SECONDS, grace_seconds
from sweeps.worker.watchdog import HANG_SECONDS, hang_seconds

CPU_WEIGHTS = 2**21
"""Weights of a pack on a CPU; a compromise: larger packs are faster, smaller ones let the sampler learn more often."""
CPU_LANES, GPU_LANES = 16, 256
"""Most lanes of a pack; on a GPU not yet measured."""
THREADED_WEIGHTS = 2**17
"""Weights of a network from which a second thread gains more than it costs, which on a busy machine is very much."""
ROUNDS = 4
"""Packs a sweep should take one after the other at least: the sampler learns between them."""
GPU_MEMORY_FRACTION = 0.5
MEASURED_LANES = {"cpu": 64, "gpu": 4096}
"""Largest packs that are measured."""
MEASURE_FROM_SECONDS = 1200.0
"""Guessed length of a sweep from which measuring lanes, a minute or so, is worth it."""
STARTING_SECONDS = 20.0
"""Of a session, apart from training: starting Ray and its workers; drawing and sending at the end. Two trials of one
epoch on the digits take 17 to 21 s on two cores, hardly any of it to train; for estimates only."""
_GUESSED_FLOPS = {"cpu": 1e11, "gpu": 1e13}
"""Per second and pack, to tell long sweeps from short ones; nothing else depends on it."""


@dataclass(frozen=True)
class Resources:
    """Of the machine or cluster that will train."""

    cpus: int
    gpus: float

    def packs(self, cpus: float, gpus: float) -> int:
        """How many packs of so many cores and GPUs there is room for."""
        return int(min(self.gpus / gpus, self.cpus // cpus) if gpus else self.cpus // cpus)


@dataclass(frozen=True)
class PackPlan:
    """How trials are packed.

    Attributes:
        lanes: Most trials of a pack.
        cpus: CPU cores of a pack.
        gpus: GPUs of a pack.
        concurrent: Packs in training at a time.
        reason: Why this many lanes.
        hang_seconds: Time without a step of training from which a pack is given up.
        grace_seconds: Time for packs to write their checkpoints when the session is asked to end.
    """

    lanes: int
    cpus: int
    gpus: float
    concurrent: int
    reason: str
    hang_seconds: float = HANG_SECONDS
    grace_seconds: float = GRACE_SECONDS


@dataclass(frozen=True)
class Estimate:
    """What a sweep will take, measured with a few steps of a real pack here.

    Attributes:
        seconds: Of the whole session, with starting and compiling, as if no trial were stopped early.
        pack_bytes: Memory of a pack, data included.
        seconds_per_lane_step: Of training, evaluation included.
        compiled: Whether packs are compiled.
    """

    seconds: float
    pack_bytes: float
    seconds_per_lane_step: float
    compiled: bool


def load_datasets(space: SearchSpace, options: Options) -> dict[str, Dataset]:
    """Every dataset the space may ask for, and a check that every network fits every dataset.

    Raises:
        ConfigError: If a dataset is missing, or a network does not fit its images.
    """
    names = [str(name) for name in choices(space, "dataset")]
    datasets = {name: data.load(name, options.data_root, download=options.download) for name in names}
    for name, network in itertools.product(names, choices(space, "network")):
        build(str(network), input_shape=datasets[name].input_shape, classes=datasets[name].classes)
    parts = itertools.product(names, choices(space, "batch_size"), choices(space, "validation_fraction"))
    for name, size, held_out in parts:
        data.split(datasets[name], TrainConfig(dataset=name, batch_size=int(size), validation_fraction=float(held_out)))
    return datasets


def choices(space: SearchSpace, name: str) -> tuple[Any, ...]:
    """The values that a field may take: fixed, default, choices, or both ends of a range."""
    default = getattr(TrainConfig, name)
    if parameter := space.parameters.get(name):
        return (*parameter.extremes, *([default] if parameter.when else ()))  # where its condition does not hold
    return (space.fixed.get(name, default),)


def local_resources() -> Resources:
    """Of this machine."""
    # A driver may be too old for PyTorch and still show its GPUs.
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return Resources(cpus=os.cpu_count() or 1, gpus=gpus)


def plan_packs(space: SearchSpace, options: Options, resources: Resources, datasets: dict[str, Dataset]) -> PackPlan:
    """Chooses cores, GPUs and lanes of a pack where the options leave them open.

    Raises:
        SweepError: If this machine has less than a pack asks for, which Ray would wait for without end, or the limit of
            hanging packs, or the time for an orderly end, is no time.
    """
    gpus = options.gpus_per_pack if options.gpus_per_pack is not None else float(resources.gpus > 0)
    cpus = options.cpus_per_pack or 1  # packs side by side: threads of one pack would wait for each other
    if options.in_process and not options.cpus_per_pack:
        cpus = resources.cpus if largest_network(space, datasets).parameters >= THREADED_WEIGHTS else 1
    for option, asked, there in (("--cpus-per-pack", cpus, resources.cpus), ("--gpus-per-pack", gpus, resources.gpus)):
        if options.address is None and asked > there:
            raise SweepError(
                f"{option}: must be at most {there:g}, all there is here, but got {asked:g}. Ask for less."
            )
    concurrent = 1 if options.in_process else options.packs or max(1, resources.packs(cpus, gpus))
    # In this process the checkpoint comes with the end of the epoch, however long that takes: nothing else is faster.
    limits = {"hang_seconds": hang_seconds(), "grace_seconds": math.inf if options.in_process else grace_seconds()}
    if options.lanes:
        return PackPlan(options.lanes, cpus, gpus, concurrent, "as asked", **limits)
    network = largest_network(space, datasets)
    on_cpu = max(1, min(CPU_LANES, round(CPU_WEIGHTS / network.parameters)))
    fitting = _gpu_lanes(space, datasets, gpus) if gpus else on_cpu
    useful = max(1, -(-space.trials // (ROUNDS * concurrent)))
    lanes = min(fitting, useful)
    reason = (
        f"{network.parameters:,} weights a lane allow {fitting} on this {'GPU' if gpus else 'CPU'}; "
        f"{space.trials} trials in at least {ROUNDS} rounds allow {useful}"
    )
    return PackPlan(lanes, cpus, gpus, concurrent, reason, **limits)


def worth_measuring(space: SearchSpace, plan: PackPlan, datasets: dict[str, Dataset]) -> bool:
    """Whether a sweep is long enough, by a guess, for its lanes to be measured first."""
    network, data = largest_network(space, datasets), max(datasets.values(), key=lambda found: len(found.train_labels))
    kind = "gpu" if plan.gpus else "cpu"
    images = len(data.train_labels) * space.most_epochs * space.trials
    cost = lane_cost(network, batch_size=1, dtype=default_dtype(torch.device("cpu")))
    return images * cost.flops / (_GUESSED_FLOPS[kind] * plan.concurrent) > MEASURE_FROM_SECONDS


def most_useful(space: SearchSpace, plan: PackPlan) -> int:
    """The largest pack that leaves the sampler its rounds."""
    rounds = max(1, -(-space.trials // (ROUNDS * plan.concurrent)))
    return min(rounds, MEASURED_LANES["gpu" if plan.gpus else "cpu"])


def largest_network(space: SearchSpace, datasets: dict[str, Dataset]) -> Network:
    """The network with the most weights that the space allows."""
    return max(_networks(space, datasets), key=lambda network: network.parameters)


def _networks(space: SearchSpace, datasets: dict[str, Dataset]) -> Iterator[Network]:
    for name, width in itertools.product(choices(space, "network"), choices(space, "width")):
        for dataset in datasets.values():
            yield build(str(name), width=float(width), input_shape=dataset.input_shape, classes=dataset.classes)


def estimate(space: SearchSpace, plan: PackPlan, datasets: dict[str, Dataset]) -> Estimate:
    """Trains a few steps of a pack on this machine and scales its time up to the whole sweep."""
    lanes = min(plan.lanes, space.trials)
    configs = sample(space, 8 * lanes)
    alike = [config for config in configs if config.structure() == configs[0].structure()][:lanes]
    config = alike[0]
    device = torch.device("cuda" if plan.gpus else "cpu")
    torch.set_num_threads(plan.cpus)
    full = datasets[config.dataset]
    compiled = compile_pays(config, full, device)
    pack = Pack(alike, excerpt(full, config, device.type), device=device, compiled=compiled)
    # The first epoch compiles. So does each process, but all of them at the same time: it is waited for once.
    first, later = _seconds(pack.train_epoch), _seconds(pack.train_epoch)
    once = STARTING_SECONDS + max(0.0, first - later)
    per_step = later / pack.steps_per_epoch / len(alike)
    steps = len(full.train_labels) * (1 - config.validation_fraction) / config.batch_size * config.epochs
    cost = lane_cost(pack.network, batch_size=config.batch_size, dtype=pack.dtype)
    images = full.train_images.nbytes + full.test_images.nbytes
    rounds = math.ceil(math.ceil(space.trials / lanes) / plan.concurrent)  # a pack takes as long alone as beside others
    return Estimate(
        seconds=once + per_step * steps * lanes * rounds,
        pack_bytes=cost.memory_bytes * lanes + images,
        seconds_per_lane_step=per_step,
        compiled=compiled,
    )


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _gpu_lanes(space: SearchSpace, datasets: dict[str, Dataset], gpus: float) -> int:
    """As many as fit into a pack's share of a GPU, of the lanes that need most."""
    memory = 16 * 2**30
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory
    largest_batch = max(int(size) for size in choices(space, "batch_size"))
    ternary, dtype = set(choices(space, "weight_init")) <= set(TERNARY_INITS), default_dtype(torch.device("cuda"))
    needed = max(
        lane_cost(network, batch_size=largest_batch, dtype=dtype, ternary=ternary).memory_bytes
        for network in _networks(space, datasets)
    )
    return max(1, min(GPU_LANES, int(GPU_MEMORY_FRACTION * min(gpus, 1.0) * memory / needed)))


def extend(space: SearchSpace, trials: str | None) -> SearchSpace:
    """The space of a sweep with a new budget.

    Args:
        space: As it was run.
        trials: `N` for a new budget, `+N` for that many more, or None to leave it.

    Raises:
        SweepError: If it is neither, or the budget would shrink.
    """
    if trials is None:
        return space
    number = int(trials) if re.fullmatch(r"\+?\d{1,9}", trials) else 0
    budget = space.trials + number if trials.startswith("+") else number
    if not number or budget < space.trials:
        raise SweepError(
            f"--trials: must be a number of at least {space.trials} or +MORE, but got {trials!r}. "
            "Write for example +20."
        )
    return replace(space, trials=budget)
