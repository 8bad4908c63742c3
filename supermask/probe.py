"""How fast a pack of a given size trains on a device: measured, for nobody can know."""

import dataclasses
import time

import torch

from supermask import memory
from supermask.config import TrainConfig
from supermask.data import Dataset
from supermask.pack import Pack

STEPS = {"cpu": 6, "cuda": 64}
"""Steps that are measured together: on a GPU enough to outweigh what an epoch costs once, as in a real one."""
SECONDS = 1.0
"""Least time that is measured."""


def excerpt(data: Dataset, config: TrainConfig, device: str) -> Dataset:
    """Just enough images of a dataset for a few steps on `cpu` or `cuda`."""
    steps = STEPS[device]
    count = min(len(data.train_labels), int(steps * config.batch_size / (1 - config.validation_fraction)) + 1)
    return dataclasses.replace(data, train_images=data.train_images[:count], train_labels=data.train_labels[:count])


def seconds_per_lane_step(
    config: TrainConfig, data: Dataset, device: torch.device, *, lanes: int, threads: int, compiled: bool
) -> float | None:
    """Trains a pack of equal lanes for a moment.

    Args:
        config: What to train.
        data: What from; a few images are enough, see `excerpt`.
        device: Where.
        lanes: Of the pack.
        threads: On a CPU.
        compiled: Whether to compile, as `compile_pays` says of the whole dataset.

    Returns:
        Seconds of a step, evaluation included, divided by the lanes; the fastest of several measurements. None if the
        pack does not fit into the device's memory.
    """
    torch.set_num_threads(threads)
    try:
        configs = [dataclasses.replace(config, seed=seed, epochs=10**6) for seed in range(lanes)]
        pack = Pack(configs, data, device=device, compiled=compiled, slots=lanes)
        pack.train_epoch()  # compiles
        found, until = list[float](), time.perf_counter() + SECONDS
        while len(found) < 2 or time.perf_counter() < until:
            started = time.perf_counter()
            pack.train_epoch()
            found.append(time.perf_counter() - started)
    except Exception as error:
        if not memory.ran_out(error):
            raise
        return None
    return min(found) / pack.steps_per_epoch / lanes
