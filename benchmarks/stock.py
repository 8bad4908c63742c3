"""A sweep as the documentation of Ray Tune, Optuna and MLflow writes it; it goes on until it is interrupted.

OptunaSearch samples the space, one Tune trial is one training in a process of one core, and MLflowLoggerCallback keeps
the metrics of every epoch. As documented, the trainable is a function over a torchvision DataLoader; tuned by hand
(`--tuned`), it is a class whose actors are reused from trial to trial, over standardised images in memory.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import ray
import torch
import typer
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.search.optuna import OptunaSearch
from torch.utils.data import DataLoader, Subset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import record, script
from benchmarks.peers import Images, Masked, PlainLoop, Sgdw, masked_network, measure, train
from search_spaces.load import load
from supermask.config import TrainConfig
from supermask.data import Dataset, split
from supermask.data import load as data_of

ENDS = "ends.jsonl"
"""A line for each trial that ended: its objectives and the time, in seconds since 1970."""


def documented(config: dict[str, Any], *, arrays: dict[str, Any]) -> None:
    """A function trainable: one model, a DataLoader for each part, a report after every epoch."""
    settings, dataset = TrainConfig(**config), Dataset.from_arrays(arrays)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images, (train_part, validation_part) = Images(dataset), split(dataset, settings)
    size, pinned = settings.batch_size, device.type == "cuda"
    training = DataLoader(
        Subset(images, train_part.tolist()), batch_size=size, shuffle=True, drop_last=True, pin_memory=pinned
    )
    validation = DataLoader(Subset(images, validation_part.tolist()), batch_size=1024, pin_memory=pinned)
    model = masked_network(settings, dataset, dtype=torch.float32).to(device)
    optimiser = Sgdw(model.parameters(), settings)
    for epoch in range(settings.epochs):
        optimiser.start_epoch(epoch)
        loss = train(model, optimiser, training, device=device)
        val_loss, val_accuracy = measure(model, validation, device=device)
        tune.report(_metrics(model, loss, val_loss, val_accuracy))


class Tuned(tune.Trainable):
    """A class trainable whose actor trains one trial after the other, with the images standardised once."""

    def setup(  # pyright: ignore[reportIncompatibleMethodOverride] - with_parameters adds to it
        self, config: dict[str, Any], arrays: dict[str, Any]
    ) -> None:
        """Starts the first trial."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._loop = PlainLoop(TrainConfig(**config), Dataset.from_arrays(arrays), device=device)

    def step(self) -> dict[str, Any]:
        """Trains and validates for one epoch."""
        self._loop.optimiser.start_epoch(self.iteration)
        loss = self._loop.steps()
        return _metrics(self._loop.model, loss, *self._loop.validate()) | {
            "done": self.iteration + 1 >= self._loop.config.epochs
        }

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Starts another trial in this actor."""
        self._loop.restart(TrainConfig(**new_config))
        return True


class Ends(tune.Callback):
    """Writes when each trial ended, and with which objectives."""

    def __init__(self, file: Path, objectives: list[str]) -> None:
        self._file, self._objectives = file, objectives

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        """Called by Tune."""
        row = {name: trial.last_result[name] for name in self._objectives} | {"ended": time.time()}
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def _metrics(model: torch.nn.Module, loss: float, val_loss: float, val_accuracy: float) -> dict[str, float]:
    layers = [layer for layer in model.modules() if isinstance(layer, Masked)]
    kept = sum(int((layer.scores.detach().abs() > layer.threshold).sum()) for layer in layers)
    remaining = kept / sum(layer.scores.numel() for layer in layers)
    return {"train_loss": loss, "val_loss": val_loss, "val_accuracy": val_accuracy, "remaining": remaining}


def main(
    space: Annotated[Path, typer.Argument(help="A search space, as a YAML file.")],
    *,
    root: Annotated[Path, typer.Option(help="Folder of all that is written.")],
    tuned: Annotated[bool, typer.Option("--tuned", help="Images in memory, reused actors.")] = False,
    epochs: Annotated[int | None, typer.Option(help="Epochs of a trial.")] = None,
    trials: Annotated[int, typer.Option(help="Trials to run; -1 for as many as there is time for.")] = -1,
    gpu: Annotated[float, typer.Option(help="Fraction of a GPU for each trial.")] = 0.0,
    at_once: Annotated[int | None, typer.Option(help="Trials at a time.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of datasets.")] = None,
) -> None:
    """Runs the stock stack."""
    found = load(space, overrides={"fixed.epochs": epochs} if epochs else {})
    dataset = data_of(str(found.fixed["dataset"]), data)
    root = root.resolve()
    root.mkdir(parents=True, exist_ok=True)
    # Workers import this project from where it lies.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(record.REPOSITORY), os.environ.get("PYTHONPATH")]))
    cores = len(os.sched_getaffinity(0))
    # "local": another cluster on this machine is nobody's business.
    ray.init("local", num_cpus=cores, include_dashboard=False, log_to_driver=False)
    trainable = tune.with_parameters(Tuned if tuned else documented, arrays=dataset.to_arrays())
    modes = [direction.removesuffix("imize") for direction in found.objectives.values()]
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1, "gpu": gpu}),
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(found.suggest, metric=list(found.objectives), mode=modes),
            num_samples=trials,
            max_concurrent_trials=at_once or cores,
            reuse_actors=tuned,
        ),
        run_config=tune.RunConfig(
            name="stock",
            storage_path=str(root),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # our trials leave none either
            callbacks=[
                MLflowLoggerCallback(f"sqlite:///{root / 'mlflow.db'}", experiment_name="stock"),
                Ends(root / ENDS, list(found.objectives)),
            ],
            verbose=0,
        ),
    )
    tuner.fit()


if __name__ == "__main__":
    script.start(main)
