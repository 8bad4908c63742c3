"""A sweep as a whole, as MLflow's users browse it: its numbers, a note, its files, and which networks are the front.

All of it follows from the search space and the Parquet files, so that a mirror that was rebuilt shows the same.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from search_spaces.space import SearchSpace
from sweeps import pareto, results
from sweeps.analysis.front_rows import front_rows
from sweeps.analysis.recommendation import recommend
from sweeps.networks import with_trials
from sweeps.results import Table
from sweeps.store.columns import floats, rows
from sweeps.store.paths import SweepPaths
from sweeps.stored import StoredSweep
from sweeps.tracking.notes import NOTE, sweep_note
from sweeps.tracking.store import ENDED

FRONT = "front"
"""The tag of trials with networks on the front: the epochs of these. Others do not have it."""
DIGEST = "artifacts_digest"
"""The tag of a sweep's run that says which content its artifacts have."""

_RECOMMENDED = ("estimate", "standard_error", "val_accuracy", "remaining")
_LONGEST_TAG = 5000


@dataclass(frozen=True)
class Overview:
    """What the parent run of a sweep holds, and what of its children changes with the whole.

    Attributes:
        space: As it was run.
        tags: The note, the commit and the name of the recommended network.
        metrics: The sweep's numbers now; steps count networks.
        step: How many networks there are.
        history: The hypervolume where it rose: step, moment (None in a sweep of an older version), value.
        front: Epochs of the networks that no other beats, within the constraints, by trial and rising.
        files: Makes what is attached, where there is need in the folder it is given, and says where it is.
    """

    space: SearchSpace
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    step: int
    history: tuple[tuple[int, datetime | None, float], ...]
    front: Mapping[int, tuple[int, ...]]
    files: Callable[[Path], list[Path]]


def overview(sweep: StoredSweep) -> Overview:
    """Sums up a sweep.

    Raises:
        SweepError: If there is no such sweep.
    """
    networks, trials, space = sweep.networks(), sweep.trials(running=True), sweep.space
    front = pareto.front_of(networks, space)
    counts = Counter(trials.column("state").to_pylist())
    counts = {state: counts[state] for state in ENDED}
    best = recommend(networks, trials, space)
    history = _rises(pareto.hypervolume_history(networks, sweep.objectives))
    metrics = {f"trials_{state}": float(count) for state, count in counts.items()}
    metrics["hypervolume"] = history[-1][2] if history else 0.0
    if networks.num_rows:
        metrics["best_estimate"] = float(pareto.judged(networks, "val_accuracy").max())
    if best:
        known = {name: best.metrics[name] for name in _RECOMMENDED}
        metrics |= {f"recommended_{name}": value for name, value in known.items() if value is not None}
    tags = {NOTE: sweep_note(space, front_rows(with_trials(front, trials), space), best, counts)}
    tags |= {"recommended": best.name} if best else {}
    commits = [commit for commit in trials.column("commit").to_pylist() if commit]
    return Overview(
        space=space,
        tags=tags | ({"commit": commits[-1]} if commits else {}),
        metrics=metrics,
        step=networks.num_rows,
        history=history,
        front=_epochs(front),
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


def front_tag(epochs: Sequence[int]) -> str:
    """The tag of a trial with networks of these epochs on the front."""
    text = ",".join(map(str, epochs))
    return text if len(text) <= _LONGEST_TAG else text[:_LONGEST_TAG].rpartition(",")[0]


def _epochs(front: Table) -> dict[int, tuple[int, ...]]:
    found = dict[int, tuple[int, ...]]()
    for row in front.select(["trial", "epoch"]).sort_by([("trial", "ascending"), ("epoch", "ascending")]).to_pylist():
        found[row["trial"]] = (*found.get(row["trial"], ()), row["epoch"])
    return found


def _rises(history: Table) -> tuple[tuple[int, datetime | None, float], ...]:
    risen = rows(history, np.diff(floats(history, "hypervolume"), prepend=0.0) > 0)
    return tuple((row["networks"], row["ended"], row["hypervolume"]) for row in risen.to_pylist())


def _files(paths: SweepPaths, scratch: Path) -> list[Path]:
    table = scratch / "trials.parquet"
    results.write(paths, table, kind="parquet")
    made = (paths.space, paths.front_png, paths.report, paths.confirmed_png)
    return [table, *(path for path in made if path.is_file())]
