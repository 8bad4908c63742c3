"""Verifies that study, Parquet and MLflow agree on every trial, value by value."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from search_spaces.space import SearchSpace
from supermask.config import RULES
from sweeps import results
from sweeps.search.study import METRICS, StudyTrial, SweepStudy, told_values
from sweeps.search.study_place import place_of
from sweeps.store.columns import integers
from sweeps.stored import StoredSweep
from sweeps.tracking import layer_metrics, mirrored, mlflow_store
from sweeps.tracking.mirrored import MirroredTrial
from sweeps.tracking.notes import NOTE, trial_note
from sweeps.tracking.overview import FRONT, Overview, front_tag, overview
from sweeps.tracking.store import Run

Row = Mapping[str, Any]
LONGEST = 2**31
"""An epoch beyond the last one of any training."""


@dataclass(frozen=True)
class _Stored:
    """A trial in the three stores.

    Attributes:
        study: In the study.
        row: Its end in Parquet.
        epochs: How many of its epochs Parquet has.
        run: In MLflow.
    """

    study: StudyTrial | None
    row: Row | None
    epochs: int
    run: MirroredTrial | None


def verify(sweep: StoredSweep, tracking_uri: str | None) -> dict[str, Any]:
    """Compares the three stores of a sweep.

    Returns:
        `ok`, `trials` (in the study), `mlflow_runs`, `finished_twice` (numbers of trials with more than one
        finished attempt) and `differences` (one line each).

    Raises:
        SweepError: If the sweep is missing or the MLflow store does not answer.
    """
    paths, space = sweep.paths, sweep.space
    uri = tracking_uri or mlflow_store.default_uri(paths.root)
    every = results.load(paths.root, paths.name, every_attempt=True).to_pylist()
    rows = {row["trial"]: row for row in sweep.trials().to_pylist()}
    # The last try of a trial that was given up may have come less far than an earlier one.
    last = {trial: row["epochs_done"] if row["state"] == "failed" else LONGEST for trial, row in rows.items()}
    counted = integers(results.up_to(sweep.epochs(), last), "trial")
    epochs = Counter(dict(zip(*(found.tolist() for found in np.unique(counted, return_counts=True)), strict=True)))
    study = {trial.number: trial for trial in SweepStudy(space, place_of(paths)).trials()}
    runs = mirrored.read(uri, paths.name, root=paths.root, count_steps=True)
    mirror = {run.trial: run for run in runs}
    finished = Counter(row["trial"] for row in every if row["state"] == "finished")
    twice = sorted(trial for trial, count in finished.items() if count > 1)
    differences = [f"trial {trial}: finished more than once" for trial in twice]
    differences += [f"trial {trial}: {count} runs in MLflow" for trial, count in _repeated(runs)]
    for number in sorted(study.keys() | rows.keys() | mirror.keys()):
        stored = _Stored(study.get(number), rows.get(number), epochs[number], mirror.get(number))
        differences += [f"trial {number}: {text}" for text in _differences(stored, space)]
    if rows and not differences:  # what follows from the trials can only differ more
        whole = overview(sweep)
        parent = mirrored.read_parent(uri, paths.name, root=paths.root)
        differences = [f"sweep: {text}" for text in _of_sweep(whole, parent)]
        for number in sorted(mirror.keys() | whole.front.keys()):
            found = _of_front_and_note(mirror.get(number), rows.get(number), whole)
            differences += [f"trial {number}: {text}" for text in found]
    return {
        "ok": not differences,
        "trials": len(study),
        "mlflow_runs": len(runs),
        "finished_twice": twice,
        "differences": differences,
    }


def _repeated(runs: list[MirroredTrial]) -> list[tuple[int, int]]:
    return [(trial, count) for trial, count in Counter(run.trial for run in runs).items() if count > 1]


def _differences(stored: _Stored, space: SearchSpace) -> Iterator[str]:
    told, row, epochs, run = stored.study, stored.row, stored.epochs, stored.run
    if told is None:
        yield "not in the study"
    elif row is None and told.state != "waiting":
        yield f"{told.state} in the study, not in Parquet"
    elif row is not None:
        yield from _study_and_parquet(told, row, space)
    if row is None:
        return
    if epochs != row["epochs_done"]:
        yield f"{row['epochs_done']} epochs done, but {epochs} epoch rows in Parquet"
    if run is None:
        yield "not in MLflow"
    else:
        yield from _parquet_and_mlflow(row, run)


def _study_and_parquet(told: StudyTrial, row: Row, space: SearchSpace) -> Iterator[str]:
    if told.state != row["state"]:
        yield f"state {told.state} in the study, {row['state']} in Parquet"
        return
    for name in RULES:
        if told.config.get(name) != row[name]:
            yield f"{name} {told.config.get(name)!r} in the study, {row[name]!r} in Parquet"
    for name in ("reason", "attempt", *METRICS):
        if not _equal(told.result.get(name), row[name]):
            yield f"{name} {told.result.get(name)!r} in the study, {row[name]!r} in Parquet"
    if told.state == "finished" and told.values != (expected := told_values(row, space)):
        yield f"objectives {told.values} in the study, {expected} in Parquet"


def _parquet_and_mlflow(row: Row, run: MirroredTrial) -> Iterator[str]:
    for name in ("state", "attempt"):
        if getattr(run, name) != row[name]:
            yield f"{name} {row[name]!r} in Parquet, {getattr(run, name)!r} in MLflow"
    for name, rule in RULES.items():
        text = run.params.get(name)
        if text is None or rule.kind(text) != row[name]:
            yield f"{name} {row[name]!r} in Parquet, {text!r} in MLflow"
    # The layers' last values came with the run, so that they cost no request; those of earlier epochs are not read.
    for name, value in {**{name: row[name] for name in METRICS}, **layer_metrics.of_end(row)}.items():
        if value is not None and math.isfinite(value) and run.metrics.get(name) != value:
            yield f"{name} {value!r} in Parquet, {run.metrics.get(name)!r} in MLflow"
    if "val_accuracy" not in run.non_finite and run.steps != row["epochs_done"]:
        yield f"{row['epochs_done']} epochs in Parquet, {run.steps} steps in MLflow"


def _of_sweep(whole: Overview, parent: Run | None) -> Iterator[str]:
    if parent is None:
        yield "not in MLflow"
        return
    for name, value in whole.metrics.items():
        there = parent.latest.get(name, (0, None))[1]
        if there != value:
            yield f"{name} {value!r} in Parquet, {there!r} in MLflow"
    for name, text in whole.tags.items():
        if parent.tags.get(name) != text:
            yield f"its tag {name} in MLflow is out of date"


def _of_front_and_note(run: MirroredTrial | None, row: Row | None, whole: Overview) -> Iterator[str]:
    if run is None:
        yield "on the front, but not in MLflow"
        return
    on_front = front_tag(whole.front[run.trial]) if run.trial in whole.front else None
    if run.tags.get(FRONT) != on_front:
        yield f"epochs on the front {on_front!r} in Parquet, {run.tags.get(FRONT)!r} in MLflow"
    if row is not None and run.tags.get(NOTE) != trial_note(whole.space.name, row):
        yield "its note in MLflow is out of date"


def _equal(one: Any, other: Any) -> bool:
    """Whether two values are the same; NaN is the same as NaN."""
    both = isinstance(one, float) and isinstance(other, float)
    return one == other or (both and math.isnan(one) and math.isnan(other))
