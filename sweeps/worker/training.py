"""One training in this process: the numbers are those of the same trial in a sweep."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from supermask.artifact import Artifact
from supermask.config import TrainConfig
from supermask.data import Dataset
from supermask.metrics import RECORDED, EpochMetrics, Evaluation
from supermask.pack import Pack
from supermask.program import compile_pays
from sweeps.errors import SweepError
from sweeps.estimate import estimate
from sweeps.signals import deferred
from sweeps.store.paths import replacing


@dataclass(frozen=True)
class Training:
    """What one training came to.

    Attributes:
        config: What was trained.
        epochs: Metrics after each epoch.
        fault: Why it diverged, or None.
        test: On the test set; None of a training that diverged.
        artifact: The trained network; None of a training that diverged.
        input_shape: `(channels, height, width)` of an image.
        dtype: Of the matrix products.
        seconds: What it took.
    """

    config: TrainConfig
    epochs: tuple[EpochMetrics, ...]
    fault: str | None
    test: Evaluation | None
    artifact: Artifact | None
    input_shape: tuple[int, int, int]
    dtype: str
    seconds: float

    @property
    def masks(self) -> dict[str, Tensor]:
        """By layer name, from input to output; empty of a training that diverged."""
        return self.artifact.masks if self.artifact else {}

    @property
    def last(self) -> EpochMetrics:
        """The metrics after the last epoch."""
        return self.epochs[-1]


def build(config: TrainConfig, data: Dataset, device: torch.device, *, threads: int) -> Pack:
    """A pack of one lane, computed as a sweep's worker does: same dtype, compiled if that pays, same threads."""
    torch.set_num_threads(threads)
    return Pack([config], data, device=device, compiled=compile_pays(config, data, device))


def train(pack: Pack, data: Dataset, see: Callable[[EpochMetrics], None]) -> Training:
    """Trains a pack of one lane until its last epoch, or until it diverges.

    Args:
        pack: From `build`.
        data: What it was built with.
        see: Called with the metrics after every epoch.
    """
    config, started = pack.configs[0], time.perf_counter()
    epochs: list[EpochMetrics] = []
    while not pack.complete() and not (epochs and epochs[-1].fault):
        epochs += pack.train_epoch()
        see(epochs[-1])
    last, fault = epochs[-1], epochs[-1].fault
    test = None if fault else pack.evaluate("test")[0]
    numbers = {name: getattr(last, name) for name in RECORDED}
    if test:
        numbers |= vars(estimate([epoch.val_accuracy for epoch in epochs], pack.validation_images))
        numbers |= {"test_loss": test.loss, "test_accuracy": test.accuracy}
    return Training(
        config=config,
        epochs=tuple(epochs),
        fault=fault,
        test=test,
        artifact=None if fault else Artifact.of(pack, 0, numbers),
        input_shape=data.input_shape,
        dtype=str(pack.dtype).removeprefix("torch."),
        seconds=time.perf_counter() - started,
    )


def choose_device(name: str) -> torch.device:
    """The device that `--device` names.

    Raises:
        SweepError: If it is none, or not there.
    """
    there = torch.cuda.is_available()
    if name not in ("auto", "cpu", "cuda"):
        raise SweepError(f"--device: must be auto, cpu or cuda, but got {name!r}. Leave it out to have it chosen.")
    if name == "cuda" and not there:
        raise SweepError("--device: cuda must be present, but PyTorch finds no GPU. Use --device cpu.")
    return torch.device("cuda" if there and name != "cpu" else "cpu")


def check_free(folder: Path) -> None:
    """Makes sure that results can go to a folder, without creating it.

    Raises:
        SweepError: If it holds something, or could not be written.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        got = "it holds files" if folder.is_dir() else "it is a file"
        raise SweepError(f"--out {folder}: must be a new or empty folder, but {got}. Choose another with --out DIR.")
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise SweepError(
            f"--out {folder}: must be a folder that can be written, but {there} cannot. Choose another with --out DIR."
        )


def as_csv(training: Training) -> str:
    """One line an epoch: metrics, seconds, and the two fractions of every layer."""
    names = ("epoch", *RECORDED, "seconds")
    layers = [f"layers/{layer.name}/{part}" for layer in training.last.layers for part in ("remaining", "inverted")]
    lines = [",".join((*names, *layers))]
    for epoch in training.epochs:
        fractions = [value for layer in epoch.layers for value in (layer.remaining, layer.inverted)]
        lines.append(",".join(repr(value) for value in (*(getattr(epoch, name) for name in names), *fractions)))
    return "\n".join(lines) + "\n"


def write(folder: Path, files: dict[str, bytes]) -> None:
    """Writes all files of a training; a signal that asks the process to end waits until all are there.

    Raises:
        SweepError: If a file cannot be written.
    """
    with deferred():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                with replacing(folder / name) as temporary:
                    temporary.write_bytes(content)
        except OSError as error:
            raise SweepError(
                f"--out {folder}: must be a folder that can be written, but got: {error}. Free some space and train "
                "again.",
                exit_code=1,
            ) from error
