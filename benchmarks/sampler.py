"""What it costs to ask for a pack of trials, and whether a sampler that is shown fewer trials samples worse.

The time is that of a sweep's own study, journal and all; the peer is Optuna's sampler on a study that holds every
trial, in the same kind of journal, as the stock stack has it. The quality is the hypervolume that a sampler reaches on
a made-up problem with the shape of a sweep: accuracy against remaining weights, with noise.
"""

import math
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import optuna
import typer
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import record, script
from benchmarks.record import Row
from search_spaces.load import load
from search_spaces.space import SearchSpace
from sweeps import pareto, results
from sweeps.search import sampling
from sweeps.search.study import METRICS, SweepStudy

PACK = 64
err = Console(stderr=True, highlight=False)


def outcome(config: Mapping[str, Any], number: int) -> tuple[float, float]:
    """Accuracy and remaining weights of a made-up training."""
    noise = np.random.default_rng(number).normal(0, 0.002)
    remaining = (1 - config["pruning_rate"]) * math.exp(-1500 * config["weight_decay"])
    rate = abs(math.log10(config["learning_rate"]) + 1) / 6 + abs(math.log(config["weight_gain"] / 1.5)) / 20
    return min(1.0, 0.98 - rate - 0.1 * math.exp(-60 * remaining) + noise), remaining


def ended(number: int, config: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a finished trial."""
    accuracy, remaining = outcome(config, number)
    values = dict.fromkeys(METRICS, 0.5) | {"val_accuracy": accuracy, "remaining": remaining}
    return {"trial": number, "state": "finished", "reason": None, "attempt": 1, **values}


def stock_study(space: SearchSpace, journal: Path) -> optuna.Study:
    """The peer: every trial is in the study that the sampler reads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = TPESampler(seed=space.sampler.seed, multivariate=True, constant_liar=True)
    storage = JournalStorage(JournalFileBackend(str(journal)))
    directions = [StudyDirection[name.upper()] for name in space.objectives.values()]
    return optuna.create_study(directions=directions, storage=storage, sampler=sampler)


def asking(space: SearchSpace, trials: int, repeats: int) -> Row:
    """Seconds that it takes to ask for a pack, once so many trials are finished."""
    ours, theirs = list[float](), list[float]()
    with tempfile.TemporaryDirectory(prefix="sampler-") as folder:
        study, stock = SweepStudy(space, Path(folder) / "ours"), stock_study(space, Path(folder) / "peer")
        with _shown_nothing():
            drawn = [study.ask() for _ in range(trials)] if trials < PACK else list(_filled(study, trials))
        study.tell(ended(trial.number, trial.config.to_dict()) for trial in drawn)
        stock.add_trials(study._study.get_trials(deepcopy=False))  # pyright: ignore[reportPrivateUsage]
        for _ in range(repeats):
            started = time.perf_counter()
            pack = [study.ask() for _ in range(PACK)]
            ours.append(time.perf_counter() - started)
            study.tell(ended(trial.number, trial.config.to_dict()) for trial in pack)
            started = time.perf_counter()
            asked = [stock.ask() for _ in range(PACK)]
            configs = [space.suggest(trial) for trial in asked]
            theirs.append(time.perf_counter() - started)
            for trial, config in zip(asked, configs, strict=True):
                stock.tell(trial, outcome(config, trial.number))
            err.print(f"{trials} trials: ours {ours[-1]:.2f} s, Optuna's {theirs[-1]:.2f} s for {PACK}")
    case = f"asking {PACK} after {trials} trials"
    return record.compare(case, ours, peer=theirs, lower_is_better=True, unit="seconds")


def quality(space: SearchSpace, trials: int, repeats: int) -> Row:
    """The hypervolume after so many trials in packs of 16."""
    ours, theirs = list[float](), list[float]()
    for seed in range(repeats):
        seeded = replace(space, sampler=replace(space.sampler, seed=seed))
        ours.append(_volume(seeded, trials))
        with _shown_everything():
            theirs.append(_volume(seeded, trials))
        err.print(f"hypervolume after {trials} trials, seed {seed}: shown some {ours[-1]:.4f}, all {theirs[-1]:.4f}")
    return record.compare(f"hypervolume after {trials} trials", ours, peer=theirs, unit="hypervolume")


def _volume(space: SearchSpace, trials: int) -> float:
    with tempfile.TemporaryDirectory(prefix="sampler-") as folder:
        study, rows = SweepStudy(space, Path(folder) / "journal"), list[dict[str, Any]]()
        for _ in range(0, trials, 16):
            with study.together():
                pack = [study.ask() for _ in range(16)]
            told = [ended(trial.number, trial.config.to_dict()) for trial in pack]
            study.tell(told)
            rows += told
    table = results.trials_table(
        [{name: row[name] for name in ("trial", "state", "attempt", *METRICS)} for row in rows]
    )
    return pareto.hypervolume(table, space.objectives)


def _filled(study: SweepStudy, trials: int) -> Iterator[Any]:
    """Asks many trials in few writes."""
    for _ in range(0, trials, 1000):
        with study.together():
            yield from [study.ask() for _ in range(min(1000, trials))]


@contextmanager
def _shown_nothing() -> Iterator[None]:
    """Trials within are drawn at random, which is quick."""
    original = sampling.SHOWN
    sampling.SHOWN = dict.fromkeys(original, 0)
    yield
    sampling.SHOWN = original


@contextmanager
def _shown_everything() -> Iterator[None]:
    original = sampling.SHOWN
    sampling.SHOWN = dict.fromkeys(original, 10**9)
    yield
    sampling.SHOWN = original


def main(
    json: Annotated[Path | None, typer.Option(help="Write the record here.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few trials, once.")] = False,
) -> None:
    """Prints seconds for a pack of 64 and the hypervolume on a made-up problem, each against its peer."""
    space = load(record.REPOSITORY / "search_spaces" / "fcn_mnist.yaml")
    space = replace(space, sampler=replace(space.sampler, name="tpe", seed=1))
    counts, repeats = ((100, 500), 1) if quick else ((100, 1000, 10_000), 5)
    rows = [asking(space, count, repeats) for count in counts]
    rows.append(quality(space, 320 if quick else 2000, repeats))
    if json:
        record.write(json, rows)
    Console().print(record.table(rows))


if __name__ == "__main__":
    script.start(main)
