"""The runs in MLflow that mirror a sweep: one parent run, and one child run per trial.

Runs are known by their tags before any is made, so sessions that follow each other go on in the same runs. A step of a
metric is written once. Rows that follow those of a run are added to it; where they do not, as after a trial started
again, the run is compared with all rows of its trial, and replaced if something in it is wrong. So every trial has one
active run, and its last values are those of the results. A value that is not finite is left out and named in the tag
`non_finite`.
"""

import math
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search_spaces.space import SearchSpace
from supermask.config import RULES
from sweeps.results import BEST
from sweeps.tracking import layer_metrics
from sweeps.tracking.backlog import News, Offset
from sweeps.tracking.notes import NOTE, trial_note
from sweeps.tracking.overview import DIGEST, FRONT, Overview, digest, front_tag
from sweeps.tracking.store import ENDED, Run, Store
from sweeps.tracking.trajectory import FINAL_METRICS, Trajectory, milliseconds
from sweeps.tracking.views import experiment_tags

OFFSET = "parts"
"""The tag of a sweep's run that says up to which Parquet parts its rows are there."""

_TAGS = ("trial", "attempt", "pack", "lane", "seed", "commit", "host", "device", "dtype", "state", "reason")
_LONGEST_TAG = 5000


class Experiment:
    """One sweep's runs, as its store held them when this object was made plus what went through it since.

    After any error it is thrown away and made again: no request is assumed to have had no effect.

    Attributes:
        removed: How many doubles of runs were deleted when it was made.
        changed: The trials whose runs were made, replaced or completed.

    Args:
        store: Of the runs.
        sweep: The sweep's name.
        is_live: Whether a driver is at work. Otherwise every run that is found is compared with all rows of its trial,
            and trials that have not ended wait for the next session.
    """

    def __init__(self, store: Store, sweep: str, *, is_live: bool = True) -> None:
        self.removed = 0
        self.changed: set[int] = set()
        self._store, self._sweep, self._open_state = store, sweep, "running" if is_live else "waiting"
        self._parent: Run | None = None
        self._runs: dict[int, Run] = {}
        for run in _in_order(list(store.runs())):
            if run.tags["role"] == "sweep":
                self._remove(self._parent)
                self._parent = run
            else:
                self._remove(self._runs.get(int(run.tags["trial"])))
                self._runs[int(run.tags["trial"])] = run
        self._unchecked = set() if is_live else set(self._runs)

    @property
    def run_id(self) -> str:
        """The store's name of the sweep's own run, which is made if missing."""
        return self._sweep_run().run_id

    @property
    def offset(self) -> Offset:
        """Up to which parts the store has the sweep's rows."""
        return Offset.parse(self._sweep_run().tags.get(OFFSET))

    def commit(self, offset: Offset) -> None:
        """Keeps the offset with the rows: a store that loses its end loses that, too."""
        self._describe_sweep({OFFSET: str(offset)})

    def begin(self, params: Mapping[str, Any], tags: Mapping[str, Any], space: SearchSpace | None) -> None:
        """Describes the sweep. A parameter cannot change in MLflow, one of a sweep can: its new value becomes a tag."""
        run, texts = self._sweep_run(), {name: _text(value) for name, value in params.items()}
        changed = {name: value for name, value in texts.items() if run.params.get(name, value) != value}
        self._describe_sweep({**tags, **changed}, texts)
        if space:
            self._store.label(experiment_tags(space, self._store.sweep_id))

    def conclude(self, state: str, overview: Overview | None) -> None:
        """Says how the sweep ended, and what it found."""
        run, now = self._sweep_run(), _now()
        run.describe({"state": state}, {})
        if overview:
            self._show(run, overview, now)
        self._store.send(run, now)

    def add(self, news: News) -> bool:
        """Adds rows to the run of their trial, if they are all of its rows or follow those that it has.

        Returns:
            Whether they do; if not, nothing has changed, and `rebuild` needs all rows of the trial.
        """
        run, told = self._runs.get(news.trial), Trajectory(news, now=_now())
        if run and not told.ended and self._is_late(run, told):
            return True
        if news.trial in self._unchecked or not _follows(run, told):
            return False
        if run and _is_complete(run, told):
            return True
        self._write(run, told)
        return True

    def rebuild(self, news: News) -> bool:
        """Makes the run of a trial equal all of its rows: completes it, or replaces it if something in it is wrong.

        Returns:
            True.
        """
        run, told = self._runs.get(news.trial), Trajectory(news, now=_now(), is_whole=True)
        if news.epochs or news.ended:
            is_right = run is None or self._extends(run, told)
            if not is_right:
                self._remove(self._runs.pop(news.trial))
            self._write(run if is_right else None, told, replaced=run)
        self._unchecked.discard(news.trial)
        return True

    def hint(self, values: Mapping[str, Any], stamp: int) -> None:
        """Shows that a trial began or waits.

        Nothing of it lasts: a run that has epochs of an earlier attempt keeps them until there are rows of this one.
        """
        run = self._runs.get(int(values["trial"]))
        if run and run.tags.get("state") in ENDED:
            return
        other = run and run.latest and (run.attempt != values.get("attempt", 1) or run.differs(_params(values)))
        run = run or self._create(values, stamp)
        run.describe(*(({"state": values["state"]}, {}) if other else (_tags(values), _params(values))))
        self._store.send(run, stamp)

    def mark_front(self, front: Mapping[int, Sequence[int]]) -> None:
        """Tags the runs of trials with these epochs on the front, and those of all others no more."""
        for trial, run in self._runs.items():
            if trial in front:
                run.describe({FRONT: front_tag(front[trial])}, {})
                if run.new_tags:
                    self._store.send(run, _now())
            elif FRONT in run.tags:
                self._store.untag(run.run_id, FRONT)
                del run.tags[FRONT]

    def _is_late(self, run: Run, told: Trajectory) -> bool:
        """Whether rows are about an attempt that was given up, or a trial whose end is there."""
        is_over = run.tags.get("state") in ENDED and run.attempt >= told.attempt
        return (is_over or (bool(run.latest) and run.attempt > told.attempt)) and told.trial not in self._unchecked

    def _extends(self, run: Run, told: Trajectory) -> bool:
        """Whether what is there is right, single and without holes, so that the rest can be added to it."""
        if told.ended and run.differs(_params(told.ended)):
            return False
        if not run.latest or run.attempt != told.attempt:
            return not run.latest
        wanted = {(step, name): value for step, of_step in told.metrics.items() for name, value in of_step.items()}
        wanted = {at: value for at, value in wanted.items() if value is not None and math.isfinite(value)}
        # A metric that is wanted at the end only needs no request: its last point says whether it is right.
        often = {*FINAL_METRICS, *(name for step, name in wanted if step < told.last)}
        points = [(step, name, v) for name in often for step, v in self._store.history(run.run_id, name)]
        once = (name for name in run.latest if (layer_metrics.is_one(name) or name in BEST) and name not in often)
        points += [(run.latest[name][0], name, run.latest[name][1]) for name in once]
        found = {(step, name): value for step, name, value in points}
        right = len(found) == len(points) and all(wanted.get(at) == value for at, value in found.items())
        return right and all(at in found for at in wanted if at[0] < run.last)

    def _write(self, run: Run | None, told: Trajectory, *, replaced: Run | None = None) -> None:
        """Adds what a run lacks; without a run, makes one in place of the one that was replaced."""
        is_new = run is None
        begun = min(told.stamps.values(), default=_now())
        run = run or self._create(told.ended or {"trial": told.trial, "attempt": told.attempt}, begun)
        for step, metrics in told.metrics.items():
            run.put(step, metrics, told.stamps[step])
        if told.ended:
            cleared = {"reason": ""} if "reason" in run.tags else {}
            note = {NOTE: trial_note(self._sweep, told.ended)}
            run.describe({**cleared, **_tags(told.ended), **note}, _params(told.ended))
        else:
            state = self._open_state if is_new or told.trial in self._unchecked else run.tags.get("state", "running")
            run.describe({"attempt": str(told.attempt), "state": state}, replaced.params if replaced and is_new else {})
        before, news = run.status, bool(run.new_tags or run.new_params or run.new_metrics)
        self._store.send(run, told.stamps.get(told.last, begun))
        if is_new or news or run.status != before:
            self.changed.add(told.trial)

    def _remove(self, run: Run | None) -> None:
        if run is not None:
            self._store.delete(run.run_id)
            self.removed += 1

    def _create(self, values: Mapping[str, Any], stamp: int) -> Run:
        tags = {"mlflow.parentRunId": self._sweep_run().run_id, "role": "trial", "sweep": self._sweep}
        tags |= _tags({"state": self._open_state, **values})
        name, begun = f"trial-{int(values['trial']):05d}", milliseconds(values.get("started"), stamp)
        run = self._runs[int(values["trial"])] = Run(self._store.create(name, tags, begun), tags=tags)
        run.describe({}, _params(values))
        return run

    def _sweep_run(self) -> Run:
        if self._parent is None:
            tags = {"role": "sweep", "sweep": self._sweep, "state": "running"}
            self._parent = Run(self._store.create(self._sweep, tags, _now()), tags=tags)
        return self._parent

    def _describe_sweep(self, tags: Mapping[str, Any], params: Mapping[str, str] | None = None) -> None:
        run = self._sweep_run()
        run.describe(_with_commit({name: _text(value) for name, value in tags.items()}), params or {})
        self._store.send(run, _now())

    def _show(self, run: Run, overview: Overview, stamp: int) -> None:
        """Makes the sweep's run, its experiment and the tags of the front say what an overview says."""
        run.describe(_with_commit(dict(overview.tags)), {})
        for step, moment, volume in overview.history:
            run.put(step, {"hypervolume": volume}, milliseconds(moment, stamp))
        run.restate(overview.step, overview.metrics, stamp)
        self._store.label({NOTE: run.tags[NOTE]})
        self.mark_front(overview.front)
        with tempfile.TemporaryDirectory(prefix="sweeps-mlflow-") as scratch:
            files = overview.files(Path(scratch))
            found = digest(files)
            if run.tags.get(DIGEST) == found:
                return
            for path in files:
                self._store.keep(run.run_id, path)
        run.describe({DIGEST: found}, {})  # last: what is cut short is kept anew


def _follows(run: Run | None, told: Trajectory) -> bool:
    """Whether rows can be added to a run without a look at what is there, and leave no hole."""
    if run and run.latest and run.attempt != told.attempt:
        return False
    if run and told.ended and (run.differs(_params(told.ended)) or run.contradicts(told.last, told.final)):
        return False
    last = run.last if run else 0
    return [step for step in told.metrics if step > last] == [*range(last + 1, told.last + 1)]


def _is_complete(run: Run, told: Trajectory) -> bool:
    """Whether a run that rows could be added to has all of its trial already."""
    is_there = run.tags.get("state") == (told.ended and told.ended["state"]) and run.attempt == told.attempt
    return is_there and run.last == told.last


def _in_order(runs: Sequence[Run]) -> list[Run]:
    """Of several runs of a trial, or of the sweep, puts that last which is to stay.

    A request that was given up may have been carried out all the same, so there are doubles, of which one is empty.
    """
    children = Counter(run.tags.get("mlflow.parentRunId") for run in runs)

    def worth(run: Run) -> tuple[Any, ...]:
        return (
            run.attempt,
            children[run.run_id],
            run.tags.get("state") in ENDED,
            run.last,
            len(run.params),
            len(run.tags),
        )

    return sorted(runs, key=worth)


def _params(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: _text(row[name]) for name in RULES if row.get(name) is not None}


def _tags(row: Mapping[str, Any]) -> dict[str, str]:
    return _with_commit({name: str(row[name]) for name in _TAGS if row.get(name) is not None})


def _with_commit(tags: dict[str, str]) -> dict[str, str]:
    known = {"mlflow.source.git.commit": tags["commit"]} if "commit" in tags else {}
    return {name: value[:_LONGEST_TAG] for name, value in (tags | known).items()}


def _text(value: Any) -> str:
    return repr(float(value)) if isinstance(value, float) else str(value)


def _now() -> int:
    return int(time.time() * 1000)
