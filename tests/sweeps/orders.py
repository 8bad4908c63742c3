"""Orders of packs as a driver gives them to a worker, and what the worker reports."""

from typing import Any

from supermask.config import TrainConfig
from sweeps.worker.pack_worker import PackWorker
from sweeps.worker.trainable import PackTrainable

EPOCHS = 2
OBJECTIVES = [["val_accuracy", "maximize"], ["remaining", "minimize"]]
UNBEATABLE = [[-1.0, 0.0, 0]]
Row = dict[str, Any]


def config(seed: int, **changes: Any) -> TrainConfig:
    values = {"width": 0.2, "batch_size": 256, "validation_fraction": 0.2, "epochs": EPOCHS, "learning_rate": 0.2}
    return TrainConfig(dataset="digits", seed=seed, **(values | changes))


def order(configs: list[TrainConfig], *, number: int = 0, rivals: list[list[float]] = UNBEATABLE) -> Row:
    lanes: list[Row] = [
        {"trial": 10 + lane, "attempt": 1 + lane, "config": c.to_dict(), "seconds": 0.0, "started": None}
        for lane, c in enumerate(configs)
    ]
    place: Row = {"pack": number, "cpus": 1, "gpus": 0, "slots": len(configs), "epoch": 0}
    return {**place, "lanes": lanes, "objectives": OBJECTIVES, "rivals": rivals}


def first(worker: PackTrainable | PackWorker) -> Row:
    """The first report of what a pack has trained, and where; that comes in one of its own."""
    began = worker.step()
    assert began["started"] or began["done"] or began["paused"]
    return worker.step() | {"started": began["started"]} if began["started"] else began


def train(worker: PackTrainable | PackWorker) -> list[Row]:
    """All reports of a pack."""
    reports = [first(worker)]
    while not reports[-1]["done"]:
        reports.append(worker.step())
    return reports


def gather(reports: list[Row], part: str) -> list[Row]:
    if part == "epochs":
        return [row for report in reports for row in report[part].to_pylist()]
    return [row for report in reports for row in report[part]]
