"""A sweep as a whole, as MLflow's users browse it: its numbers, a note, its files, and which trials are the front.

All of it follows from the search space and the Parquet files, so that a mirror that was rebuilt shows the same.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from search_spaces.space import SearchSpace
from sweeps import pareto, results
from sweeps.analysis.front_rows import front_rows
from sweeps.analysis.recommendation import recommend
from sweeps.results import Table
from sweeps.store.paths import SweepPaths
from sweeps.stored import StoredSweep
from sweeps.tracking.notes import NOTE, sweep_note

FRONT = "front"
"""The tag of trials on the front; its value is `true`. Others do not have it."""
DIGEST = "artifacts_digest"
"""The tag of a sweep's run that says which content its artifacts have."""

_ENDED = ("finished", "stopped", "failed")


@dataclass(frozen=True)
class Overview:
    """What the parent run of a sweep holds, and what of its children changes with the whole.

    Attributes:
        space: As it was run.
        tags: The note, the commit and the number of the recommended trial.
        metrics: The sweep's numbers now; steps count finished trials.
        step: How many trials have finished.
        history: The hypervolume where it rose: step, moment, value.
        front: Numbers of the trials that no other beats, within the constraints.
        files: Makes what is attached, where there is need in the folder it is given, and says where it is.
    """

    space: SearchSpace
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    step: int
    history: tuple[tuple[int, datetime, float], ...]
    front: frozenset[int]
    files: Callable[[Path], list[Path]]


def overview(sweep: StoredSweep) -> Overview:
    """Sums up a sweep.

    Raises:
        SweepError: If there is no such sweep.
    """
    trials, space = sweep.trials(), sweep.space
    front = pareto.front_of(trials, space)
    counts = Counter(trials.column("state").to_pylist())
    counts = {state: counts[state] for state in _ENDED}
    best = recommend(trials, space)
    history = _rises(pareto.hypervolume_history(trials, space.objectives))
    metrics = {f"trials_{state}": float(count) for state, count in counts.items()}
    metrics["hypervolume"] = history[-1][2] if history else 0.0
    reached = pareto.values(pareto.finished(trials), "val_accuracy")
    if len(reached):
        metrics["best_val_accuracy"] = float(reached.max())
    if best:
        known = {name: best.metrics[name] for name in ("val_accuracy", "remaining", "test_accuracy")}
        metrics |= {f"recommended_{name}": value for name, value in known.items() if value is not None}
    tags = {NOTE: sweep_note(space, front_rows(front, space), best, counts)}
    tags |= {"recommended": str(best.trial)} if best else {}
    commits = [commit for commit in trials.column("commit").to_pylist() if commit]
    return Overview(
        space=space,
        tags=tags | ({"commit": commits[-1]} if commits else {}),
        metrics=metrics,
        step=counts["finished"],
        history=history,
        front=frozenset(front.column("trial").to_pylist()),
        files=lambda scratch: _files(sweep.paths, scratch),
    )


def params(space: SearchSpace) -> dict[str, Any]:
    """What the run of a sweep has as parameters."""
    fixed = {f"fixed.{name}": value for name, value in space.fixed.items()}
    return {"sampler": space.sampler.name, "sampler_seed": space.sampler.seed, "trials": space.trials, **fixed}


def digest(files: Iterable[Path]) -> str:
    """What tells other content or other names from these."""
    found = hashlib.sha256()
    for path in files:
        content = path.read_bytes()
        found.update(f"{path.name} {len(content)} ".encode() + content)
    return found.hexdigest()


def _rises(history: Table) -> tuple[tuple[int, datetime, float], ...]:
    rises, before = [], 0.0
    for row in history.to_pylist():
        if row["hypervolume"] > before:
            before = row["hypervolume"]
            rises.append((row["finished"], row["ended"], before))
    return tuple(rises)


def _files(paths: SweepPaths, scratch: Path) -> list[Path]:
    table = scratch / "trials.parquet"
    results.write(paths, table, kind="parquet")
    made = (paths.space, paths.front_png, paths.report, paths.confirmed_png)
    return [table, *(path for path in made if path.is_file())]
