"""Our side of a comparison: the fused pack."""

from collections.abc import Sequence

import torch

from supermask.config import TrainConfig
from supermask.data import Dataset
from supermask.pack import Pack


class PackLoop:
    """Our side."""

    def __init__(
        self, configs: Sequence[TrainConfig], images: Dataset, *, device: torch.device, compiled: bool
    ) -> None:
        """Builds the pack."""
        self.lanes = len(configs)
        self.pack = Pack(configs, images, device=device, compiled=compiled)

    def steps(self) -> list[float]:
        """The steps of an epoch alone: validating after the few steps of a repetition would count too much."""
        return self.pack.train_steps().tolist()

    def epoch(self) -> object:
        """A whole epoch, with validation."""
        return self.pack.train_epoch()

    def close(self) -> None:
        """Nothing to end."""


def compiled(configs: Sequence[TrainConfig], images: Dataset) -> PackLoop:
    """A compiled pack on the CPU, for a process of its own."""
    return PackLoop(configs, images, device=torch.device("cpu"), compiled=True)


def eager(configs: Sequence[TrainConfig], images: Dataset) -> PackLoop:
    """A pack on the CPU that is not compiled, for a process of its own."""
    return PackLoop(configs, images, device=torch.device("cpu"), compiled=False)
