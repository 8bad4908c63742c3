"""A made-up sweep of any size, written as a driver leaves it: every command that reads results works on it.

The numbers have the shape of real ones (an FCN on MNIST): accuracy falls when hardly any weights remain and away from
the best learning rate and gain, single runs scatter, hot ones diverge, and successive halving ends two in three early.
They are drawn, not trained: good for measuring speed and for trying things out, and for nothing else.
"""

import math
import sys
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from optuna.distributions import CategoricalDistribution, IntDistribution

from search_spaces.load import load
from search_spaces.space import Distribution, SearchSpace
from supermask.config import TrainConfig
from sweeps import networks, pareto, results
from sweeps.confirmations import CONFIRMATIONS, ConfirmationWriter
from sweeps.driver.seeds import fresh_seeds
from sweeps.estimate import DOUBT, WINDOW
from sweeps.results import EPOCHS, TRIALS, ResultsWriter
from sweeps.store.lease import write_session
from sweeps.store.paths import SweepPaths

STARTED = datetime(2026, 1, 1, tzinfo=UTC)
LAYERS = ("linear1", "linear2", "linear3")
_LAYER_SHARES = np.array([0.9, 1.6, 2.5])
"""What remains of each layer, as a multiple of what remains of all weights."""
_RUNG = 3
PACK = 64
IMAGES = 6000
"""Size of the made-up validation part, a tenth of MNIST."""

Columns = dict[str, Any]


@dataclass(frozen=True)
class Drawn:
    """What a made-up trial comes to at its last epoch, each of shape [trial]."""

    accuracy: np.ndarray
    remaining: np.ndarray
    diverged: np.ndarray
    done: np.ndarray


def write(
    root: Path | str,
    name: str,
    *,
    trials: int = 100_000,
    epochs: int = 20,
    stopping: bool = True,
    confirmed: int = 4,
    seed: int = 0,
) -> SweepPaths:
    """Writes space, trials, epochs, confirmations and session file of a made-up sweep.

    Args:
        root: Folder of all sweeps.
        name: Of the sweep, which must be new.
        trials: How many have ended.
        epochs: Of a trial that finishes.
        stopping: Whether two in three trials are stopped at epoch `epochs // 3`; their rows are fewer.
        confirmed: Networks of the front that are confirmed with ten seeds each.
        seed: The same seed writes the same sweep.

    Returns:
        Where it is.
    """
    paths = SweepPaths(Path(root), name)
    space = load(Path(__file__).parents[1] / "search_spaces" / "fcn_mnist.yaml", overrides={"name": name})
    space = replace(space, fixed=space.fixed | {"epochs": epochs}, trials=trials)
    generator = np.random.default_rng(seed)
    config = _configs(space, trials, generator)
    drawn = _outcomes(config, epochs, stopping=stopping, generator=generator)
    table = _trials(config, drawn, epochs, generator)
    writer = ResultsWriter(paths.folder)
    writer.add_trials(table)
    writer.add_epochs(_epochs(drawn, epochs, table))
    writer.flush()
    paths.space.write_text(space.to_yaml(), encoding="utf-8")
    found = networks.load(root, name)
    networks.keep_candidates(paths, space, found)
    members = networks.with_trials(pareto.front_of(found, space), table)
    if confirmed and members.num_rows:
        chosen = np.unique(np.linspace(0, members.num_rows - 1, min(confirmed, members.num_rows)).astype(int))
        _confirm(paths, members.take(pa.array(chosen)).to_pylist(), generator)
    counts = {"asked": trials, **_count(table), "running": 0, "waiting": 0}
    session = {"name": name, "state": "finished", "host": "made-up", "pid": 1, "updated": STARTED.isoformat()}
    write_session(paths, session | {"seconds": 0.5 * trials, "trials": counts})
    return paths


def _configs(space: SearchSpace, trials: int, generator: np.random.Generator) -> Columns:
    fields: Columns = TrainConfig.from_dict(space.fixed).to_dict()
    columns = {name: np.full(trials, value) for name, value in fields.items()}
    columns |= {name: _draw(one.distribution, trials, generator) for name, one in space.parameters.items()}
    return columns | {"seed": np.arange(trials)}


def _draw(distribution: Distribution, trials: int, generator: np.random.Generator) -> np.ndarray:
    if isinstance(distribution, CategoricalDistribution):
        return np.array(distribution.choices)[generator.integers(len(distribution.choices), size=trials)]
    low, high = distribution.low, distribution.high
    if distribution.log:
        drawn = np.exp(generator.uniform(math.log(low), math.log(high), trials))
    else:
        drawn = generator.uniform(low, high, trials)
    return np.rint(drawn).astype(int) if isinstance(distribution, IntDistribution) else drawn


def _outcomes(config: Columns, epochs: int, *, stopping: bool, generator: np.random.Generator) -> Drawn:
    trials = len(config["seed"])
    decay = np.minimum(config["decay_epochs"], epochs)
    remaining = (1 - config["pruning_rate"]) * np.exp(-250 * config["weight_decay"] * decay)
    remaining = np.clip(remaining * np.exp(generator.normal(0, 0.05, trials)), 1e-4, 1)
    away = (np.log10(config["learning_rate"]) + 1.0) ** 2 / 12 + np.log(config["weight_gain"] / 1.4) ** 2 / 10
    accuracy = 0.982 - 0.06 * away - 0.1 * np.exp(-150 * remaining) + generator.normal(0, 0.002, trials)
    diverged = (config["learning_rate"] * config["weight_gain"] > 1.2) & (generator.random(trials) < 0.5)
    done = np.full(trials, epochs)
    if stopping and epochs >= _RUNG:
        score = accuracy + generator.normal(0, 0.01, trials)
        done[score < np.quantile(score, 1 - 1 / _RUNG)] = epochs // _RUNG
    done[diverged] = 1
    return Drawn(np.clip(accuracy, 0.1, 1), remaining, diverged, done)


def _progress(drawn: Drawn, trial: np.ndarray, epoch: np.ndarray, epochs: int) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy and remaining weights after an epoch."""
    share = epoch / epochs
    accuracy = drawn.accuracy[trial] - 0.08 * np.exp(-5 * share) + 0.08 * math.exp(-5)
    return accuracy, drawn.remaining[trial] ** np.sqrt(share)


def _metrics(drawn: Drawn, trial: np.ndarray, epoch: np.ndarray, epochs: int) -> Columns:
    accuracy, remaining = _progress(drawn, trial, epoch, epochs)
    loss = np.where(drawn.diverged[trial], np.nan, 3.2 * (1 - accuracy) + 0.01)
    layers = np.clip(remaining[:, None] * _LAYER_SHARES, 0, 1)
    estimate, standard_error = _estimates(drawn, trial, epoch, epochs)
    return {
        "train_loss": 0.8 * loss,
        "val_loss": loss,
        "val_accuracy": np.where(drawn.diverged[trial], 0.1, accuracy),
        "estimate": pa.array(estimate, mask=drawn.diverged[trial]),
        "standard_error": pa.array(standard_error, mask=drawn.diverged[trial]),
        "remaining": remaining,
        "inverted": 0.3 * remaining,
        "layers": _layers(layers),
    }


def _estimates(drawn: Drawn, trial: np.ndarray, epoch: np.ndarray, epochs: int) -> tuple[np.ndarray, np.ndarray]:
    """Estimates and their standard errors, as `sweeps.estimate` has them."""
    total, seen = np.zeros(len(trial)), IMAGES + DOUBT
    for back in range(WINDOW):
        total += np.where(epoch > back, _progress(drawn, trial, np.maximum(epoch - back, 1), epochs)[0], 0.0)
    expected = total / np.minimum(epoch, WINDOW) * IMAGES / seen
    return expected, np.sqrt(np.maximum(expected * (1 - expected), 0.25 / seen) / seen)


def _layers(remaining: np.ndarray) -> pa.Array:
    rows, count = remaining.shape
    flat = remaining.ravel().astype(np.float32)
    names = pa.DictionaryArray.from_arrays(np.tile(np.arange(count), rows), list(LAYERS)).cast(pa.string())
    kind = TRIALS.field("layers").type
    structs = pa.StructArray.from_arrays([names, pa.array(flat), pa.array(0.3 * flat)], fields=list(kind.value_type))
    return pa.ListArray.from_arrays(pa.array(np.arange(rows + 1) * count, pa.int32()), structs, type=kind)


def _trials(config: Columns, drawn: Drawn, epochs: int, generator: np.random.Generator) -> pa.Table:
    trials = len(drawn.done)
    numbers = np.arange(trials)
    states = np.where(drawn.diverged, "failed", np.where(drawn.done < epochs, "stopped", "finished"))
    metrics = _metrics(drawn, numbers, drawn.done, epochs)
    test = metrics["val_accuracy"] - 0.002 + generator.normal(0, 0.001, trials)
    tested = states == "finished"
    began = np.datetime64(STARTED.replace(tzinfo=None), "us") + (numbers // PACK * PACK * 500_000).astype("m8[us]")
    reasons = {"failed": "diverged: train_loss is nan after epoch 1", "stopped": "stopped: not among the best third"}
    columns = {
        "trial": numbers,
        "state": states,
        "reason": [reasons.get(state) for state in states.tolist()],
        "attempt": np.ones(trials, dtype=int),
        "pack": numbers // PACK,
        "lane": numbers % PACK,
        **config,
        "epochs_done": drawn.done,
        **metrics,
        "test_loss": pa.array(metrics["val_loss"] + 0.005, mask=~tested),
        "test_accuracy": pa.array(test, mask=~tested),
        "best_epoch": pa.array(drawn.done, mask=drawn.diverged),
        **{f"best_{name}": metrics[name] for name in ("estimate", "standard_error")},
        "best_remaining": pa.array(metrics["remaining"], mask=drawn.diverged),
        "started": began,
        "ended": began + (drawn.done * 1_000_000 + numbers % PACK).astype("m8[us]"),
        "seconds": 0.1 * drawn.done,
        **{key: np.full(trials, value) for key, value in _PLACE.items()},
    }
    return _table(columns, TRIALS)


_PLACE = {"host": "made-up", "device": "cpu", "dtype": "float32", "classes": 10, "commit": "0" * 40}


def _epochs(drawn: Drawn, epochs: int, trials: pa.Table) -> pa.Table:
    trial = np.repeat(np.arange(len(drawn.done)), drawn.done)
    epoch = np.arange(len(trial)) - np.repeat(np.cumsum(drawn.done) - drawn.done, drawn.done) + 1
    ones = np.ones(len(trial), dtype=int)
    columns = {"trial": trial, "attempt": ones, "epoch": epoch, "seconds": 0.1 * ones}
    left = (1_000_000 * (drawn.done[trial] - epoch)).astype("m8[us]")
    columns["ended"] = trials.column("ended").to_numpy()[trial] - left
    earlier = epoch < drawn.done[trial]
    for name in ("test_loss", "test_accuracy"):
        columns[name] = pa.array(trials.column(name).to_numpy()[trial], mask=earlier, from_pandas=True)
    return _table(columns | _metrics(drawn, trial, epoch, epochs), EPOCHS)


def _table(columns: Columns, schema: pa.Schema) -> pa.Table:
    return pa.Table.from_arrays(
        [pa.chunked_array([pa.array(columns[field.name])]).cast(field.type) for field in schema], schema=schema
    )


def _confirm(paths: SweepPaths, rows: list[Columns], generator: np.random.Generator) -> None:
    seeds = fresh_seeds(10, [])
    writer = ConfirmationWriter(paths.confirm)
    for row in rows:
        shared = {name: row.get(name) for name in CONFIRMATIONS.names}
        moved = generator.normal(0, 0.0012, (len(seeds), 2))
        writer.write(
            shared
            | {"state": "finished", "epochs_done": row["epoch"], "seed_index": index, "seed": seed}
            | {"test_accuracy": row["val_accuracy"] - 0.003 + better, "val_accuracy": row["val_accuracy"] + better}
            | {"test_loss": row["val_loss"] + 0.005, "estimate": row["estimate"] + better}
            | {"remaining": row["remaining"] * (1 + more), "ended": row["ended"] + timedelta(hours=1)}
            for index, (seed, (better, more)) in enumerate(zip(seeds, moved.tolist(), strict=True))
        )


def _count(table: pa.Table) -> dict[str, int]:
    states = table.column("state").to_pylist()
    return {state: states.count(state) for state in ("finished", "stopped", "failed")}


def main(
    root: Annotated[Path, typer.Argument(help="Folder of all sweeps.")],
    name: Annotated[str, typer.Argument(help="Name of the new sweep.")],
    trials: Annotated[int, typer.Option(min=1)] = 100_000,
    epochs: Annotated[int, typer.Option(min=1, help="Of a trial that finishes.")] = 20,
    stopping: Annotated[bool, typer.Option(help="Stop two in three trials early.")] = True,
) -> None:
    """Writes a made-up sweep."""
    started = time.perf_counter()
    paths = write(root, name, trials=trials, epochs=epochs, stopping=stopping)
    rows = results.load(paths.root, name).num_rows
    print(f"{rows} trials in {paths.folder}, {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    typer.run(main)
