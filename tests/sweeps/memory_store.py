"""A store for the tests of the mirror."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from sweeps.objectives import Objectives
from sweeps.tracking.store import Run

OBJECTIVES = Objectives({"val_accuracy": "maximize", "remaining": "minimize"})
"""Of the sweeps that the tests mirror."""


class MemoryStore:
    """A store that keeps what MLflow would: all points, the latest ones, and deleted runs out of sight."""

    sweep_id = "0" * 32

    def __init__(self) -> None:
        self.all: dict[str, Run] = {}
        self.points: dict[str, list[tuple[str, float, int, int]]] = {}
        self.deleted: list[str] = []
        self.stamps: dict[str, int] = {}
        self.files: dict[str, bytes] = {}
        self.labels: dict[str, str] = {}
        self.requests = 0

    def runs(self) -> Iterable[Run]:
        for run_id, run in self.all.items():
            if run_id not in self.deleted:
                kept = {"tags": dict(run.tags), "params": dict(run.params), "latest": dict(run.latest)}
                yield dataclasses.replace(run, **kept, new_tags={}, new_params={}, new_metrics=[])

    def create(self, name: str, tags: Mapping[str, str], stamp: int) -> str:
        assert stamp >= 0
        run_id = f"{name}-{len(self.all)}"
        self.all[run_id] = Run(run_id, tags=dict(tags))
        self.points[run_id] = []
        return run_id

    def delete(self, run_id: str) -> None:
        self.deleted.append(run_id)

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        return sorted((step, value) for name, value, _, step in self.points[run_id] if name == metric)

    def send(self, run: Run, stamp: int) -> None:
        kept = self.all[run.run_id]
        self.stamps[run.run_id] = stamp
        self.requests += bool(run.new_tags or run.new_params or run.new_metrics)
        assert not set(run.new_params) & set(kept.params), "MLflow refuses to change a parameter"
        kept.tags |= run.new_tags
        kept.params |= run.new_params
        for point in run.new_metrics:
            self.points[run.run_id].append(point)
            kept.latest[point[0]] = max(kept.latest.get(point[0], (0, -math.inf)), (point[3], point[1]))
        run.new_tags, run.new_params, run.new_metrics = {}, {}, []

    def untag(self, run_id: str, tag: str) -> None:
        self.requests += 1
        del self.all[run_id].tags[tag]

    def keep(self, run_id: str, path: Path) -> None:
        self.requests += 1
        self.files[f"{run_id}/{path.name}"] = path.read_bytes()

    def label(self, tags: Mapping[str, str]) -> None:
        self.labels |= tags

    def active(self, trial: int) -> list[str]:
        runs = [run for run in self.runs() if run.tags["role"] == "trial"]
        return [run.run_id for run in runs if run.tags["trial"] == str(trial)]
