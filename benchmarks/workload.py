"""What a benchmark trains: a network, its images and the configurations of its lanes."""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from supermask import data
from supermask.config import ConfigError, TrainConfig
from supermask.data import Dataset
from supermask.models import Network, build

DATASETS = {"fcn": "mnist"}
"""Images of a network; the convolutional ones train on CIFAR-10."""
_SHAPES = {
    # images, channels, height, width, classes
    "mnist": (60_000, 1, 28, 28, 10),
    "cifar10-jpeg": (50_000, 3, 32, 32, 10),
    "cifar100": (50_000, 3, 32, 32, 100),
}
_VALIDATION_IMAGES = 8


@dataclass(frozen=True)
class Workload:
    """The work that all sides do.

    Attributes:
        network: As in `TrainConfig.network`.
        width: As in `TrainConfig.width`.
        images: What to train on.
        batch_size: Images of a step.
    """

    network: str
    width: float
    images: Dataset
    batch_size: int = 128

    @property
    def shapes(self) -> Network:
        """The network with its concrete shapes."""
        return build(self.network, input_shape=self.images.input_shape, classes=self.images.classes, width=self.width)

    @property
    def most_steps(self) -> int:
        """Full batches in all images but the few that validate."""
        return (len(self.images.train_labels) - _VALIDATION_IMAGES) // self.batch_size

    def configs(self, lanes: int) -> list[TrainConfig]:
        """Trials as a sweep would draw them: each lane has its own seed and hyperparameters."""
        shared = TrainConfig(
            network=self.network,
            width=self.width,
            dataset=self.images.name,
            batch_size=self.batch_size,
            schedule="constant",
            validation_fraction=min(0.9, max(0.1, 1 / len(self.images.train_labels))),
        )
        places = [lane / max(1, lanes - 1) for lane in range(lanes)]
        return [
            replace(shared, seed=lane, pruning_rate=0.3 + 0.5 * place, learning_rate=0.1 - 0.08 * place)
            for lane, place in enumerate(places)
        ]

    def cut(self, steps: int, lanes: int) -> tuple[list[TrainConfig], Dataset]:
        """Configurations, and as many images as fill the given number of steps: an epoch is then that long."""
        count = steps * self.batch_size + _VALIDATION_IMAGES
        images = first(self.images, count)
        fraction = _VALIDATION_IMAGES / count
        return [replace(config, validation_fraction=fraction) for config in self.configs(lanes)], images


def first(images: Dataset, count: int) -> Dataset:
    """The first images of a training set; the test set, which no benchmark reads, shrinks to one."""
    return replace(
        images,
        train_images=images.train_images[:count],
        train_labels=images.train_labels[:count],
        test_images=images.test_images[:1],
        test_labels=images.test_labels[:1],
    )


def find_images(name: str, root: str | None) -> Dataset:
    """The named dataset where its files are found, else images of the same shape and number, drawn at random.

    Raises:
        ConfigError: If the name is not one that can be drawn and its files are missing.
    """
    try:
        return data.load(name, root)
    except ConfigError:
        if name not in _SHAPES:
            raise
    count, *shape, classes = _SHAPES[name]
    return noise(count, tuple(shape), classes=classes)


def noise(count: int, shape: tuple[int, ...], *, classes: int, seed: int = 0) -> Dataset:
    """Images and labels drawn at random."""
    random = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (count, *shape), dtype=torch.uint8, generator=random)
    labels = torch.randint(classes, (count,), generator=random)
    return Dataset("folder:generated", pixels, labels, pixels[:1], labels[:1], classes)


def free_memory_bytes(device: torch.device) -> float:
    """What the device still has, with what the system could free of its caches."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    if found := re.search(r"^MemAvailable:\s*(\d+) kB$", text, re.MULTILINE):
        return int(found[1]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
