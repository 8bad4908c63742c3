"""MLflow, a mirror of a sweep for browsing: filled from the background, allowed to fail, rebuilt by `sync`.

A sweep is one experiment. It holds one parent run (tag `role=sweep`) and one child run per trial (`role=trial`). Runs are
found by their tags before any is created, so sessions that follow each other go on in the same runs. A step of a metric is
written once. A trial that starts again gets a new run and its old one is deleted; epochs from before the checkpoint it
went on from move to the new run. So every trial has one active run, and its last values are those of the results.

A value that is not finite is left out and named in the tag `non_finite`. Only this module imports mlflow, and only when
there is something to do: that takes seconds.
"""

import logging
import math
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supermask.config import RULES
from sweeps.errors import SweepError
from sweeps.outbox import LAST, Outbox, Row

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_LOG = logging.getLogger(__name__)

EPOCH_METRICS = ("train_loss", "val_loss", "val_accuracy", "remaining", "inverted")
FINAL_METRICS = (*EPOCH_METRICS, "test_loss", "test_accuracy", "epochs_done", "seconds")
"""What a trial's run holds at its last step, named as in the results."""

_ENDED = ("finished", "stopped", "failed")
_STATUS = {"running": "RUNNING", "waiting": "SCHEDULED", "finished": "FINISHED", "failed": "FAILED"}
_TAGS = ("trial", "attempt", "pack", "lane", "seed", "commit", "host", "device", "dtype", "state", "reason")
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds; MLflow's own 120 would outlast any patience at the end of a sweep
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
_BATCH = 1000  # metrics in one request, MLflow's limit


def default_uri(root: Path) -> str:
    """The store of all sweeps under `root` when no tracking server is given."""
    return f"sqlite:///{root.absolute() / 'mlflow.db'}"


def redact(text: str) -> str:
    """`text` with the passwords of the addresses in it replaced, fit for a log."""
    text = re.sub(r"://[^/@\s]*@", "://***@", text)
    return re.sub(r"(?i)\b(\w*password|\w*token)=[^&\s]+", r"\1=***", text)


@dataclass
class _Run:
    """What the store holds of one run, and what it is to be sent next."""

    run_id: str
    status: str = "RUNNING"
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    latest: dict[str, tuple[int, float]] = field(default_factory=dict)
    new_tags: dict[str, str] = field(default_factory=dict)
    new_params: dict[str, str] = field(default_factory=dict)
    new_metrics: list[tuple[str, float, int, int]] = field(default_factory=list)

    @property
    def attempt(self) -> int:
        return int(self.tags.get("attempt", 1))

    @property
    def last(self) -> int:
        return max((step for step, _ in self.latest.values()), default=0)

    def differs(self, params: Mapping[str, str]) -> bool:
        return any(self.params.get(name, value) != value for name, value in params.items())

    def describe(self, tags: Mapping[str, str], params: Mapping[str, str]) -> None:
        changed = {name: value for name, value in tags.items() if self.tags.get(name) != value}
        missing = {name: value for name, value in params.items() if name not in self.params}
        self.new_tags |= changed
        self.tags |= changed
        self.new_params |= missing
        self.params |= missing

    def put(self, step: int, values: Mapping[str, float | None], stamp: int) -> None:
        for name, value in values.items():
            if value is None or self.latest.get(name, (-1, 0.0))[0] >= step:
                continue
            if math.isfinite(value):
                self.new_metrics.append((name, float(value), stamp, step))
                self.latest[name] = (step, float(value))
            else:
                known = set(self.tags.get("non_finite", "").split())
                self.describe({"non_finite": " ".join(sorted(known | {name}))}, {})


class _Store:
    """The experiment of one sweep, as it was when this object was made plus what went through it since.

    After any error it is thrown away and made again from what the store then holds: no request is assumed to have
    had no effect.
    """

    def __init__(self, uri: str, sweep: str, root: Path) -> None:
        self._client = _connect(uri)
        self._sweep = sweep
        artifacts = _artifacts(root) if uri == default_uri(root) else None
        self._experiment = _experiment(self._client, sweep) or self._client.create_experiment(sweep, artifacts)
        self._parent: _Run | None = None
        self.runs: dict[int, _Run] = {}
        self.removed = 0
        found = [_known(run) for run in _runs(self._client, self._experiment)]
        replaced = {run.tags.get("replaces") for run in found}
        for run in sorted(found, key=lambda run: (run.run_id not in replaced, run.attempt)):
            if run.tags["role"] == "sweep":
                self._parent = run
            else:
                self._forget(self.runs.get(int(run.tags["trial"])))
                self.runs[int(run.tags["trial"])] = run

    def apply(self, rows: Sequence[Row]) -> None:
        """Brings the run that `rows` are about up to date, in as few requests as MLflow's limits allow."""
        for row in rows:
            run = self._sweep_row(row) if row.key in ("sweep", "end") else self._trial_row(row)
            state = run.tags.get("state", "running")
            if row is rows[-1]:
                self._send(run, _STATUS.get(state, "KILLED"), _milliseconds(row.values.get("ended"), row.stamp))

    def repair(self, row: Mapping[str, Any], epochs: Iterable[Mapping[str, Any]]) -> bool:
        """Makes the run of an ended trial equal its rows; returns whether anything was to do."""
        trial, run = int(row["trial"]), self.runs.get(int(row["trial"]))
        count = row["epochs_done"] or 0
        # Of an epoch that several attempts reached, the last attempt's row counts.
        newest = {e["epoch"]: e for e in sorted(epochs, key=lambda e: e["attempt"]) if e["epoch"] <= count}
        wanted = {(step, n): newest[step][n] for step in newest for n in EPOCH_METRICS}
        wanted |= {(count, name): row[name] for name in FINAL_METRICS if count}
        wanted = {at: value for at, value in wanted.items() if value is not None and math.isfinite(value)}
        if run and (run.attempt != row["attempt"] or run.differs(_params(row)) or not self._begins(run, wanted)):
            self._forget(run)
            run = self.runs.pop(trial, None) and None
        before = run and (dict(run.tags), run.status, run.params.keys() | set(), dict(run.latest))
        ended = _milliseconds(row.get("ended"), int(time.time() * 1000))
        started = _milliseconds(row.get("started"), ended)
        run = run or self._create(row, started)
        key = str(trial)
        stamps = {step: started + (ended - started) * step // max(count, 1) for step in newest}
        rows = [Row("epoch", key, {**newest[s], "attempt": row["attempt"]}, stamps[s]) for s in sorted(newest)]
        self.apply([*rows, Row("ended", key, row, ended)])
        run = self.runs[trial]
        return before != (run.tags, run.status, run.params.keys() | set(), run.latest)

    def _begins(self, run: _Run, wanted: Mapping[tuple[int, str], float]) -> bool:
        # What is there must be right and without holes, so that the rest can be appended.
        points = [(step, name, value) for name in FINAL_METRICS for step, value in self._history(run.run_id, name)]
        found = {(step, name): value for step, name, value in points}
        right = len(found) == len(points) and all(wanted.get(at) == value for at, value in found.items())
        return right and all(at in found for at in wanted if at[0] < run.last)

    def _trial_row(self, row: Row) -> _Run:
        values, known = row.values, self.runs.get(int(row.values["trial"]))
        if known and values.get("attempt", known.attempt) < known.attempt:
            return known  # a late word about an attempt that was given up
        run = self._locate(row)
        if row.kind == "epoch":
            self._put(run, values["epoch"], {name: values[name] for name in EPOCH_METRICS}, row.stamp)
            return run
        if row.kind == "ended":
            step = values["epochs_done"] or 0
            metrics = {name: values[name] for name in FINAL_METRICS if values[name] is not None}
            if _contradicts(run, step, metrics):
                run = self._restart(run, values, row.stamp)
            if step:
                self._put(run, step, metrics, row.stamp)
        run.describe(self._tags(values, run), _params(values))
        return run

    def _locate(self, row: Row) -> _Run:
        run = self.runs.get(int(row.values["trial"]))
        if run is None:
            return self._create(row.values, row.stamp)
        again = row.kind == "started" and run.tags.get("state") in _ENDED
        if again or row.values.get("attempt", 1) > run.attempt or run.differs(_params(row.values)):
            return self._restart(run, row.values, row.stamp)
        return run

    def _restart(self, run: _Run, values: Mapping[str, Any], stamp: int) -> _Run:
        if run.differs(_params(values)):  # another trial of this number, from a sweep that was removed
            self._forget(run)
            return self._create(values, stamp)
        # Made before the old one goes: if this is cut short, the old one is still known as replaced.
        new = self._create(values, stamp, replaces=run.run_id)
        self._forget(run)
        return new

    def _forget(self, run: _Run | None) -> None:
        if run is not None:
            self._client.delete_run(run.run_id)
            self.removed += 1

    def _put(self, run: _Run, step: int, values: Mapping[str, float | None], stamp: int) -> None:
        if step > 1 and not run.latest and "replaces" in run.tags:
            for name in EPOCH_METRICS:
                for old_step, value in self._history(run.tags["replaces"], name):
                    if old_step < step:
                        run.put(old_step, {name: value}, stamp)
        run.put(step, values, stamp)

    def _history(self, run_id: str, name: str) -> list[tuple[int, float]]:
        return sorted((point.step, point.value) for point in self._client.get_metric_history(run_id, name))

    def _create(self, values: Mapping[str, Any], stamp: int, **extra: str) -> _Run:
        trial = int(values["trial"])
        tags = {"mlflow.parentRunId": self._parent_run(stamp).run_id, "role": "trial", "sweep": self._sweep, **extra}
        tags |= self._tags({"state": "running", **values})
        start = _milliseconds(values.get("started"), stamp)
        made = self._client.create_run(self._experiment, start, tags, f"trial-{trial:05d}")
        run = self.runs[trial] = _Run(made.info.run_id, tags=tags)
        run.describe({}, _params(values))
        return run

    def _parent_run(self, stamp: int) -> _Run:
        if self._parent is None:
            tags = {"role": "sweep", "sweep": self._sweep, "state": "running"}
            made = self._client.create_run(self._experiment, stamp, tags, self._sweep)
            self._parent = _Run(made.info.run_id, tags=tags)
        return self._parent

    def _tags(self, values: Mapping[str, Any], run: _Run | None = None) -> dict[str, str]:
        tags = {name: str(values[name])[:5000] for name in _TAGS if values.get(name) is not None}
        if "commit" in tags:
            tags["mlflow.source.git.commit"] = tags["commit"]
        return tags if run is None or "reason" not in run.tags else {"reason": "", **tags}

    def _sweep_row(self, row: Row) -> _Run:
        run = self._parent_run(row.stamp)
        # Parameters cannot change in MLflow, those of a sweep can (more trials): the newest are kept as tags too.
        params = {name: _text(value) for name, value in row.values.get("params", {}).items()}
        tags = {name: _text(value)[:5000] for name, value in row.values.get("tags", {}).items() if value is not None}
        tags |= {name: value for name, value in params.items() if run.params.get(name, value) != value}
        run.describe(tags, params)
        run.put(run.last + 1, row.values.get("metrics", {}), row.stamp)
        for path in row.values.get("artifacts", ()):
            self._client.log_artifact(run.run_id, str(path))
        return run

    def _send(self, run: _Run, status: str, ended: int) -> None:
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(*point) for point in run.new_metrics]
        params = [Param(name, value) for name, value in run.new_params.items()]
        tags = [RunTag(name, value) for name, value in run.new_tags.items()]
        while metrics or params or tags:
            batch = (metrics[:_BATCH], params[:100], tags[:100])
            self._client.log_batch(run.run_id, *batch, synchronous=True)
            metrics, params, tags = metrics[_BATCH:], params[100:], tags[100:]
        run.new_metrics, run.new_params, run.new_tags = [], {}, {}
        if status != run.status and status in ("RUNNING", "SCHEDULED"):
            self._client.update_run(run.run_id, status)
        elif status != run.status:
            self._client.set_terminated(run.run_id, status, ended)
        run.status = status


class Mirror:
    """Mirrors a running sweep. Its methods take copies and return at once; see `Outbox` for what happens on errors.

    Rows have the columns of `sweeps.results`; a started or waiting trial needs `trial` and `attempt` only.

    Args:
        uri: A store of MLflow: a database or a server's address.
        sweep: The sweep's name, which becomes the experiment's.
        root: The folder of all sweeps; artifacts are kept there if `uri` is its default store.
        interval_seconds: Least time between two rounds of requests.
    """

    def __init__(self, uri: str, sweep: str, *, root: Path, interval_seconds: float = 2.0) -> None:
        self._outbox = Outbox(
            lambda: _Store(uri, sweep, root).apply,
            _refused,
            name=f"MLflow store {redact(uri)}",
            explain=_explain,
            interval_seconds=interval_seconds,
        )

    @property
    def lag(self) -> int:
        """Rows on their way."""
        return self._outbox.lag

    @property
    def rejected(self) -> Mapping[str, str]:
        """What the store refused for good, and why: trial numbers, `sweep` or `last` (the sweep's end)."""
        return self._outbox.rejected

    def start_sweep(self, params: Mapping[str, Any], tags: Mapping[str, Any]) -> None:
        """A session begins or goes on. A parameter that changed since an earlier session is also kept as a tag."""
        self._outbox.add("sweep", [("sweep", {"params": params, "tags": {**tags, "state": "running"}})])

    def trials_started(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Trials begin; one that begins again, in a later attempt, gets a new run in place of its old one."""
        self._add("started", ({**row, "state": "running"} for row in rows))

    def trials_waiting(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Trials were interrupted and wait for the next session."""
        self._add("waiting", ({**row, "state": "waiting"} for row in rows))

    def epochs(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Epochs ended."""
        self._add("epoch", rows)

    def trials_ended(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Trials ended: finished, stopped or failed."""
        self._add("ended", rows)

    def log_sweep(self, metrics: Mapping[str, float], artifacts: Sequence[Path] = ()) -> None:
        """The sweep's own numbers, each call one step later, and files; a file replaces an older one of its name."""
        self._outbox.add("sweep", [("sweep", {"metrics": metrics, "artifacts": list(artifacts)})])

    def finish(self, state: str) -> None:
        """The session ends; sent after everything else. `finished` and `failed` are shown so, all else as killed."""
        self._outbox.add("sweep", [(LAST, {"tags": {"state": state}})])

    def close(self, timeout_seconds: float) -> int:
        """Sends what is left and returns the number of rows not mirrored; 0 means that the mirror is equal."""
        return self._outbox.close(timeout_seconds)

    def _add(self, kind: str, rows: Iterable[Mapping[str, Any]]) -> None:
        self._outbox.add(kind, ((str(row["trial"]), row) for row in rows))


def sync(
    uri: str,
    sweep: str,
    *,
    root: Path,
    trials: Iterable[Mapping[str, Any]],
    epochs: Mapping[int, Sequence[Mapping[str, Any]]],
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
) -> int:
    """Makes a store equal the rows of ended trials. Doing it again changes nothing.

    Args:
        uri: See `Mirror`.
        sweep: See `Mirror`.
        root: See `Mirror`.
        trials: Rows of ended trials, one per trial. Runs of other trials are left alone.
        epochs: The rows of each trial's epochs, of all its attempts.
        params: The sweep's own parameters.
        tags: The sweep's own tags, e.g. its `state`.

    Returns:
        The number of runs that were made, replaced, completed or removed.

    Raises:
        SweepError: If the store does not answer or refuses.
    """
    with _answering(uri):
        store = _Store(uri, sweep, root)
        removed = store.removed
        values = {"params": params or {}, "tags": tags or {}}
        store.apply([Row("sweep", "sweep", values, int(time.time() * 1000))])
        return removed + sum(store.repair(row, epochs.get(row["trial"], ())) for row in trials)


@dataclass(frozen=True)
class MirroredTrial:
    """A trial as MLflow holds it.

    Attributes:
        trial: Its number; two runs of one number are two of these.
        attempt: The attempt the run is about.
        state: Its tag `state`.
        run_id: MLflow's name of the run.
        params: The parameters as text; `float(text)` of a float gives it back exactly.
        metrics: The last values. Of a metric in `non_finite` it is the last finite one, if there was any.
        last_step: The highest step of any metric.
        non_finite: Metrics of which a value was left out.
        steps: How many values of `val_accuracy` the run holds; None unless asked for.
    """

    trial: int
    attempt: int
    state: str
    run_id: str
    params: dict[str, str]
    metrics: dict[str, float]
    last_step: int
    non_finite: frozenset[str]
    steps: int | None


def read(uri: str, sweep: str, *, root: Path, count_steps: bool = False) -> list[MirroredTrial]:
    """All active runs of trials, in order of their trials; empty when there is no such sweep. Creates nothing.

    Args:
        uri: See `Mirror`.
        sweep: See `Mirror`.
        root: See `Mirror`.
        count_steps: Whether to count each run's steps, which takes one request per run.

    Raises:
        SweepError: If the store does not answer.
    """
    if uri == default_uri(root) and not (root / "mlflow.db").exists():
        return []
    with _answering(uri):
        client = _connect(uri)
        found = _experiment(client, sweep)
        runs = [_known(run) for run in _runs(client, found)] if found else []
        trials = [
            MirroredTrial(
                trial=int(run.tags["trial"]),
                attempt=run.attempt,
                state=run.tags.get("state", "running"),
                run_id=run.run_id,
                params=run.params,
                metrics={name: value for name, (_, value) in run.latest.items()},
                last_step=run.last,
                non_finite=frozenset(run.tags.get("non_finite", "").split()),
                steps=len(client.get_metric_history(run.run_id, "val_accuracy")) if count_steps else None,
            )
            for run in runs
            if run.tags["role"] == "trial"
        ]
    return sorted(trials, key=lambda trial: trial.trial)


def ui_command(uri: str, *, root: Path, port: int) -> list[str]:
    """The command line of MLflow's page on a database, reachable from this machine only."""
    store = ["--backend-store-uri", uri, "--default-artifact-root", _artifacts(root)]
    return [sys.executable, "-m", "mlflow", "ui", *store, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]


def experiment_url(uri: str, sweep: str, *, port: int = 5000) -> str:
    """Where a browser finds the sweep: on the server of `uri`, or on the page of `ui_command` at `port`.

    Raises:
        SweepError: If the store does not answer.
    """
    address = redact(uri).rstrip("/") if uri.startswith(("http://", "https://")) else f"http://127.0.0.1:{port}"
    with _answering(uri):
        found = _experiment(_connect(uri), sweep)
    return f"{address}/#/experiments/{found}" if found else address


def _connect(uri: str) -> "MlflowClient":
    quiet = "MLFLOW_LOGGING_LEVEL" not in os.environ
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    if quiet:  # somebody may have imported mlflow before this; urllib3 reports every retry
        for name in ("mlflow", "alembic", "urllib3.connectionpool"):
            logging.getLogger(name).setLevel(logging.ERROR)
    return MlflowClient(uri, uri)


def _artifacts(root: Path) -> str:
    return (root.absolute() / "mlflow-artifacts").as_uri()


def _experiment(client: "MlflowClient", sweep: str) -> str | None:
    found = client.get_experiment_by_name(sweep)
    return found.experiment_id if found else None


def _runs(client: "MlflowClient", experiment: str) -> "Iterator[Run]":
    token: str | None = None
    while token is None or token:
        page = client.search_runs([experiment], "", order_by=["start_time ASC"], max_results=1000, page_token=token)
        yield from (run for run in page if run.data.tags.get("role") in ("sweep", "trial"))
        token = page.token or ""


def _known(run: "Run") -> _Run:
    latest = {point.key: (point.step, point.value) for point in run.data.to_proto().metrics}
    return _Run(run.info.run_id, run.info.status, dict(run.data.tags), dict(run.data.params), latest)


def _contradicts(run: _Run, step: int, metrics: Mapping[str, float]) -> bool:
    other = {name: value for name, value in metrics.items() if math.isfinite(value)}
    return run.last > step or any(run.latest.get(name, (0, 0.0)) == (step, 0) and value for name, value in other.items())


def _params(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: _text(row[name]) for name in RULES if row.get(name) is not None}


def _text(value: Any) -> str:
    return repr(float(value)) if isinstance(value, float) else str(value)


def _milliseconds(moment: datetime | None, default: int) -> int:
    if moment is None:
        return default
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _refused(error: Exception) -> bool:
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):  # 401 and 403 are about who asks, 409 and 429 about the moment
        return 400 <= error.get_http_status_code() < 500 and error.get_http_status_code() not in (401, 403, 408, 409, 429)
    return not isinstance(error, OSError) or isinstance(error, FileNotFoundError)


def _explain(error: Exception) -> str:
    return redact(str(error).strip().split("\n")[0])[:300] or type(error).__name__


@contextmanager
def _answering(uri: str) -> Iterator[None]:
    try:
        yield
    except (SweepError, KeyError, TypeError):
        raise
    except Exception as error:
        message = f"MLflow store {redact(uri)}: must answer, but got: {_explain(error)}. Check the address and try again."
        raise SweepError(message, exit_code=1) from None
