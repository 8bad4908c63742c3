"""What the rows of a sweep mean for the runs that mirror it: one parent run and one child run per trial.

Runs are known by their tags before any is made, so sessions that follow each other go on in the same runs. A step of a
metric is written once. A trial that starts again gets a new run and its old one is deleted; epochs from before the
checkpoint it went on from move to the new run. So every trial has one active run, and its last values are those of the
results. A value that is not finite is left out and named in the tag `non_finite`.
"""

import math
import tempfile
import time
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from supermask.config import RULES
from sweeps.analysis.intervals import student_t
from sweeps.tracking import layer_metrics
from sweeps.tracking.notes import NOTE, trial_note
from sweeps.tracking.outbox import LAST, Row
from sweeps.tracking.overview import DIGEST, FRONT, Overview, digest
from sweeps.tracking.store import CONFIRM, Run, Store
from sweeps.tracking.views import experiment_tags

EPOCH_METRICS = ("train_loss", "val_loss", "val_accuracy", "remaining", "inverted")
FINAL_METRICS = (*EPOCH_METRICS, "test_loss", "test_accuracy", "epochs_done", "seconds")
"""What the run of an ended trial holds, named as in the results; `layer_metrics` names those of its layers."""

CONFIRMED_METRICS = ("test_accuracy", "remaining")
"""What fresh seeds of a trial are judged by."""

_ENDED = ("finished", "stopped", "failed")
_TAGS = ("trial", "attempt", "pack", "lane", "seed", "commit", "host", "device", "dtype", "state", "reason")
_LONGEST_TAG = 5000


class Experiment:
    """One sweep's runs, as its store held them when this object was made plus what went through it since.

    After any error it is thrown away and made again: no request is assumed to have had no effect.
    """

    def __init__(self, store: Store, sweep: str) -> None:
        self.removed = 0
        self._store, self._sweep = store, sweep
        self._parent: Run | None = None
        self._runs: dict[int, Run] = {}
        for run in _in_order(list(store.runs())):
            if run.tags["role"] == "sweep":
                self._drop(self._parent)
                self._parent = run
            else:
                self._forget(int(run.tags["trial"]))
                self._runs[int(run.tags["trial"])] = run

    def apply(self, rows: Sequence[Row]) -> None:
        """Brings the one run that `rows` are about up to date."""
        for row in rows:
            run = self._sweep_row(row) if row.key in ("sweep", LAST) else self._trial_row(row)
            if row is rows[-1]:
                self._store.send(run, _milliseconds(row.values.get("ended"), row.stamp))

    def repair(self, row: Mapping[str, Any], epochs: Iterable[Mapping[str, Any]]) -> bool:
        """Makes the run of an ended trial equal its rows; returns whether anything was to do."""
        trial, count = int(row["trial"]), row["epochs_done"] or 0
        # Of an epoch that several attempts reached, the last attempt's row counts.
        by_epoch = {e["epoch"]: e for e in sorted(epochs, key=lambda e: e["attempt"]) if e["epoch"] <= count}
        steps = {step: _epoch_metrics(by_epoch[step]) for step in sorted(by_epoch)}
        known = self._runs.get(trial)
        if known and not self._extends(known, row, {**steps, count: _final_metrics(row)}):
            self._forget(trial)
            known = None
        before = known and _copy(known)
        ended = _milliseconds(row.get("ended"), int(time.time() * 1000))
        started = _milliseconds(row.get("started"), ended)
        run = known or self._create(row, started)
        for step, metrics in steps.items():
            run.put(step, metrics, started + (ended - started) * step // count)
        self.apply([Row("ended", str(trial), row, ended)])
        return before != _copy(run)

    def _extends(self, run: Run, row: Mapping[str, Any], steps: Mapping[int, Mapping[str, float | None]]) -> bool:
        # What is there must be right, single and without holes, so that the rest can be added to it.
        if run.attempt != row["attempt"] or run.differs(_params(row)):
            return False
        wanted = {(step, name): steps[step][name] for step in steps for name in steps[step]}
        wanted = {at: value for at, value in wanted.items() if value is not None and math.isfinite(value)}
        # A layer's metric that is wanted at the end only needs no request: its last point says whether it is right.
        often = {*FINAL_METRICS, *(name for step, name in wanted if step < max(steps))}
        points = [(step, name, v) for name in often for step, v in self._store.history(run.run_id, name)]
        layers = (name for name in run.latest if layer_metrics.is_one(name) and name not in often)
        points += [(run.latest[name][0], name, run.latest[name][1]) for name in layers]
        found = {(step, name): value for step, name, value in points}
        right = len(found) == len(points) and all(wanted.get(at) == value for at, value in found.items())
        return right and all(at in found for at in wanted if at[0] < run.last)

    def _trial_row(self, row: Row) -> Run:
        values, known = row.values, self._runs.get(int(row.values["trial"]))
        if known and values.get("attempt", known.attempt) < known.attempt:
            return known  # a late word about an attempt that was given up
        run = self._locate(row)
        if row.kind == "epoch":
            self._put(run, values["epoch"], _epoch_metrics(values), row.stamp)
            return run
        if row.kind == "ended":
            step, metrics = values["epochs_done"] or 0, _final_metrics(values)
            if run.contradicts(step, metrics):
                run = self._restart(run, values, row.stamp)
            self._put(run, step, metrics, row.stamp, of_epochs=_epoch_metrics(values))
        cleared = {"reason": ""} if "reason" in run.tags else {}
        note = {NOTE: trial_note(self._sweep, values)} if row.kind == "ended" else {}
        run.describe({**cleared, **_tags(values), **note}, _params(values))
        return run

    def _locate(self, row: Row) -> Run:
        run = self._runs.get(int(row.values["trial"]))
        if run is None:
            return self._create(row.values, row.stamp)
        again = row.kind == "started" and run.tags.get("state") in _ENDED
        if again or row.values.get("attempt", 1) > run.attempt or run.differs(_params(row.values)):
            return self._restart(run, row.values, row.stamp)
        return run

    def _restart(self, run: Run, values: Mapping[str, Any], stamp: int) -> Run:
        if run.differs(_params(values)):  # sampled anew, after the study lost its end
            self._forget(int(values["trial"]))
            return self._create(values, stamp)
        # Its epochs may be asked for. It goes last: if this is cut short, it is known as replaced.
        self._store.send(run, stamp)
        new = self._create(values, stamp, replaces=run.run_id)
        self._store.delete(run.run_id)
        return new

    def _forget(self, trial: int) -> None:
        self._drop(self._runs.pop(trial, None))

    def _drop(self, run: Run | None) -> None:
        if run is not None:
            self._store.delete(run.run_id)
            self.removed += 1

    def _put(
        self,
        run: Run,
        step: int,
        metrics: Mapping[str, float | None],
        stamp: int,
        *,
        of_epochs: Iterable[str] | None = None,
    ) -> None:
        """Takes the values of a step; an empty run that replaces another takes the earlier epochs of that one first.

        Args:
            run: The run.
            step: The step.
            metrics: Its values.
            stamp: When, in milliseconds.
            of_epochs: Names of the metrics that every epoch has; all of `metrics` unless given.
        """
        if step > 1 and not run.latest and "replaces" in run.tags:
            for name in metrics if of_epochs is None else of_epochs:
                for old_step, value in self._store.history(run.tags["replaces"], name):
                    if old_step < step:
                        run.put(old_step, {name: value}, stamp)
        run.put(step, metrics, stamp)

    def _create(self, values: Mapping[str, Any], stamp: int, **more_tags: str) -> Run:
        trial = int(values["trial"])
        tags = {"mlflow.parentRunId": self._parent_run(stamp).run_id, "role": "trial", "sweep": self._sweep}
        tags |= _tags({"state": "running", **values}) | more_tags
        start = _milliseconds(values.get("started"), stamp)
        run = self._runs[trial] = Run(self._store.create(f"trial-{trial:05d}", tags, start), tags=tags)
        run.describe({}, _params(values))
        return run

    def _parent_run(self, stamp: int) -> Run:
        if self._parent is None:
            tags = {"role": "sweep", "sweep": self._sweep, "state": "running"}
            self._parent = Run(self._store.create(self._sweep, tags, stamp), tags=tags)
        return self._parent

    def _sweep_row(self, row: Row) -> Run:
        overview: Overview | None = row.values.get("overview")
        run = self._parent_run(row.stamp)
        texts = {name: _text(value) for name, value in row.values.get("params", {}).items()}
        tags = _with_commit({name: _text(value) for name, value in row.values.get("tags", {}).items()})
        # A parameter cannot change in MLflow, one of a sweep can (more trials): its newest value becomes a tag.
        changed = {name: value for name, value in texts.items() if run.params.get(name, value) != value}
        run.describe(tags | changed, texts)
        if "space" in row.values:
            self._store.label(experiment_tags(row.values["space"], self._store.sweep_id))
        if "front" in row.values:
            self._mark(row.values["front"], row.stamp)
        if overview:
            self._show(run, overview, row.stamp)
        return run

    def _show(self, run: Run, overview: Overview, stamp: int) -> None:
        """Makes the sweep's run, its experiment and the tags of the front say what an overview says."""
        run.describe(_with_commit(dict(overview.tags)), {})
        for step, moment, volume in overview.history:
            run.put(step, {"hypervolume": volume}, _milliseconds(moment, stamp))
        run.restate(overview.step, overview.metrics, stamp)
        self._store.label({NOTE: run.tags[NOTE]})
        self._mark(overview.front, stamp)
        with tempfile.TemporaryDirectory(prefix="sweeps-mlflow-") as scratch:
            files = overview.files(Path(scratch))
            found = digest(files)
            if run.tags.get(DIGEST) == found:
                return
            for path in files:
                self._store.keep(run.run_id, path)
        run.describe({DIGEST: found}, {})  # last: what is cut short is kept anew

    def _mark(self, front: Container[int], stamp: int) -> None:
        for trial, run in self._runs.items():
            if trial in front and FRONT not in run.tags:
                run.describe({FRONT: "true"}, {})
                self._store.send(run, stamp)
            elif trial not in front and FRONT in run.tags:
                self._store.untag(run.run_id, FRONT)
                del run.tags[FRONT]


def _in_order(runs: Sequence[Run]) -> list[Run]:
    """Of several runs of a trial, or of the sweep, puts that last which is to stay.

    A request that was given up may have been carried out all the same, so there are doubles, of which one is empty.
    """
    replaced = {run.tags.get("replaces") for run in runs}
    children = Counter(run.tags.get("mlflow.parentRunId") for run in runs)

    def worth(run: Run) -> tuple[Any, ...]:
        content = run.tags.get("state") in _ENDED, run.last, len(run.params), len(run.tags)
        return run.run_id not in replaced, run.attempt, children[run.run_id], *content

    return sorted(runs, key=worth)


def _epoch_metrics(row: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: row[name] for name in EPOCH_METRICS} | layer_metrics.of_epoch(row)


def _final_metrics(row: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: row[name] for name in FINAL_METRICS} | layer_metrics.of_end(row)


def add_confirmations(store: Store, run: Run, rows: Iterable[Mapping[str, Any]]) -> bool:
    """Adds what fresh seeds of a finished trial reached to its run; returns whether anything was to do.

    `confirm/test_accuracy` and `confirm/remaining` have one value per seed, at the step of its index. Their `_mean`,
    `_std`, `_low` and `_high` stand at the step of how many seeds they are of, as does the tag `confirmed`.
    """
    finished = [row for row in rows if row["state"] == "finished"]
    points: dict[tuple[str, int], float | None] = {}
    for metric in CONFIRMED_METRICS if finished else ():
        points |= {(f"{CONFIRM}{metric}", row["seed_index"]): row[metric] for row in finished}
        found = vars(student_t([row[metric] for row in finished]))
        points |= {(f"{CONFIRM}{metric}_{name}", len(finished)): value for name, value in found.items()}
    known = {name for name, _ in points if name in run.latest}
    there = {(name, *point) for name in known for point in store.history(run.run_id, name)}
    stamp = max((_milliseconds(row.get("ended"), 0) for row in finished), default=0)
    for (name, step), value in points.items():
        if value is not None and (name, step, value) not in there:
            run.new_metrics.append((name, value, stamp, step))
    if not run.new_metrics:
        return False
    run.describe({"confirmed": str(len(finished))}, {})
    store.send(run, stamp)
    return True


def _copy(run: Run) -> tuple[Any, ...]:
    return run.run_id, dict(run.tags), dict(run.params), dict(run.latest), run.status


def _params(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: _text(row[name]) for name in RULES if row.get(name) is not None}


def _tags(row: Mapping[str, Any]) -> dict[str, str]:
    return _with_commit({name: str(row[name]) for name in _TAGS if row.get(name) is not None})


def _with_commit(tags: dict[str, str]) -> dict[str, str]:
    known = {"mlflow.source.git.commit": tags["commit"]} if "commit" in tags else {}
    return {name: value[:_LONGEST_TAG] for name, value in (tags | known).items()}


def _text(value: Any) -> str:
    return repr(float(value)) if isinstance(value, float) else str(value)


def _milliseconds(moment: datetime | None, default: int) -> int:
    if moment is None:
        return default
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
