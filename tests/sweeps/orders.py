"""Orders of packs as a driver gives them to a worker, and what the worker reports."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from supermask.config import TrainConfig
from sweeps.objectives import Claim, Key, Objectives
from sweeps.worker.messages import Lane, PackOrder, PackReport
from sweeps.worker.pack_worker import PackWorker
from sweeps.worker.services import WorkerSettings

EPOCHS = 2
SETTINGS = WorkerSettings(objectives=Objectives({"val_accuracy": "maximize", "remaining": "minimize"}))
UNBEATABLE: list[Claim] = [(-1.0, -9.0, 0, 1)]
Row = dict[str, Any]
Start = Callable[..., PackWorker]
"""Gives a pack to a new worker."""


def config(seed: int, **changes: Any) -> TrainConfig:
    values = {"width": 0.2, "batch_size": 256, "validation_fraction": 0.2, "epochs": EPOCHS, "learning_rate": 0.2}
    return TrainConfig(dataset="digits", seed=seed, **(values | changes))


def order(
    configs: list[TrainConfig],
    *,
    number: int = 0,
    rivals: Sequence[Claim] = UNBEATABLE,
    first: int = 10,
    epoch: int = 0,
    **changes: Any,
) -> PackOrder:
    """Trials from `first` on, each with an attempt of its own, that are trained for so many epochs."""
    lanes = [Lane(first + lane, 1 + lane, made, epoch=epoch, **changes) for lane, made in enumerate(configs)]
    return PackOrder(number, tuple(lanes), len(configs), tuple(rivals))


def renumbered(pack: PackOrder, trials: Sequence[int], **changes: Any) -> PackOrder:
    """An order of the same lanes under other numbers."""
    lanes = [replace(lane, trial=trial, **changes) for lane, trial in zip(pack.lanes, trials, strict=True)]
    return replace(pack, lanes=tuple(lanes))


def first(worker: PackWorker) -> PackReport:
    """The first report of what a pack has trained, and where; that comes in one of its own."""
    began = worker.step()
    assert began.place or began.done or began.paused
    return replace(worker.step(), place=began.place) if began.place else began


def train(worker: PackWorker) -> list[PackReport]:
    """All reports of a pack."""
    reports = [first(worker)]
    while not reports[-1].done:
        reports.append(worker.step())
    return reports


def gather(reports: list[PackReport], part: str) -> list[Row]:
    """The rows of one part of all reports: `epochs`, `ended`, `paused` or `place`."""
    if part == "epochs":
        return [row for report in reports for row in report.epochs.to_pylist()]
    if part == "place":
        return [dict(vars(report.place)) for report in reports if report.place]
    if part == "paused":
        return [dict(vars(lane)) for report in reports for lane in report.paused]
    return [lane.to_row() for report in reports for lane in report.ended]


def artifacts(reports: list[PackReport]) -> dict[Key, bytes]:
    """Content of all artifacts, by trial and epoch."""
    return {key: content for report in reports for key, content in report.networks.items()}
