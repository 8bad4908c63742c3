"""MLflow, a mirror of a sweep for browsing: filled from the background, allowed to fail, rebuilt by `sync`.

A sweep is one experiment with one parent run (tag `role=sweep`) and one child run per trial (`role=trial`); see
`sweeps.experiment` for what they hold. Only this module and `sweeps.model_registry` import mlflow, and only when there
is something to do: that takes seconds.
"""

import logging
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.errors import SweepError
from sweeps.experiment import Experiment, Run, add_confirmations
from sweeps.outbox import LAST, Outbox, Row

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

_STATUS = {"running": "RUNNING", "waiting": "SCHEDULED", "finished": "FINISHED", "failed": "FAILED"}
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds; MLflow's own 120 would outlast any patience at the end of a sweep
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
_NOT_ABOUT_ROWS = (401, 403, 408, 409, 429)  # HTTP codes about who asks, or about the moment
_MOST_METRICS, _MOST_NAMES, _PAGE = 1000, 100, 1000  # in one request


def default_uri(root: Path) -> str:
    """The store of all sweeps under `root` when no tracking server is given."""
    return f"sqlite:///{root.absolute() / 'mlflow.db'}"


def redact(text: str) -> str:
    """`text` with the passwords of the addresses in it replaced, fit for a log."""
    text = re.sub(r"://[^/\s]*@", "://***@", text)
    return re.sub(r"(?i)\b(\w*password|\w*token)=[^&\s]+", r"\1=***", text)


class _Store:
    """The experiment of one sweep in MLflow, made if missing."""

    def __init__(self, uri: str, sweep: str, root: Path) -> None:
        self._client = connect(uri)
        found = experiment_id(self._client, sweep)
        if found is None:
            found = self._client.create_experiment(sweep, _artifacts(root) if uri == default_uri(root) else None)
        elif self._client.get_experiment(found).lifecycle_stage == "deleted":
            self._client.restore_experiment(found)
        self._experiment = found

    def runs(self) -> Iterable[Run]:
        return runs_of(self._client, self._experiment)

    def create(self, name: str, tags: Mapping[str, str], stamp: int) -> str:
        return self._client.create_run(self._experiment, stamp, dict(tags), name).info.run_id

    def delete(self, run_id: str) -> None:
        self._client.delete_run(run_id)

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        return sorted((point.step, point.value) for point in self._client.get_metric_history(run_id, metric))

    def send(self, run: Run, stamp: int) -> None:
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(*point) for point in run.new_metrics]
        params = [Param(name, value) for name, value in run.new_params.items()]
        tags = [RunTag(name, value) for name, value in run.new_tags.items()]
        while metrics or params or tags:
            # Never MLflow's own asynchronous mode, which can lose data without a word.
            batch = (metrics[:_MOST_METRICS], params[:_MOST_NAMES], tags[:_MOST_NAMES])
            self._client.log_batch(run.run_id, *batch, synchronous=True)
            metrics, params, tags = metrics[_MOST_METRICS:], params[_MOST_NAMES:], tags[_MOST_NAMES:]
        run.new_metrics, run.new_params, run.new_tags = [], {}, {}
        status = _STATUS.get(run.tags.get("state", "running"), "KILLED")
        if status != run.status and status in ("RUNNING", "SCHEDULED"):
            self._client.update_run(run.run_id, status)
        elif status != run.status:
            self._client.set_terminated(run.run_id, status, stamp)
        run.status = status

    def keep(self, run_id: str, path: Path) -> None:
        self._client.log_artifact(run_id, str(path))


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
            lambda: Experiment(_Store(uri, sweep, root), sweep).apply,
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
    with answering(uri):
        experiment = Experiment(_Store(uri, sweep, root), sweep)
        removed = experiment.removed
        values = {"params": params or {}, "tags": tags or {}}
        experiment.apply([Row("sweep", "sweep", values, int(time.time() * 1000))])
        return removed + sum(experiment.repair(row, epochs.get(row["trial"], ())) for row in trials)


def send_confirmations(
    uri: str, sweep: str, *, root: Path, confirmations: Mapping[int, Sequence[Mapping[str, Any]]]
) -> tuple[int, list[int]]:
    """Adds what trials reached with fresh seeds to their runs. Makes and removes no run; doing it again adds nothing.

    Args:
        uri: See `Mirror`.
        sweep: See `Mirror`.
        root: See `Mirror`.
        confirmations: All rows of `sweeps.confirmations` of each trial.

    Returns:
        The number of runs that changed, and the trials whose runs are not there or not complete.

    Raises:
        SweepError: If the store does not answer or refuses.
    """
    if is_missing(uri):
        return 0, sorted(confirmations)
    with answering(uri):
        if experiment_id(connect(uri), sweep) is None:
            return 0, sorted(confirmations)
        store = _Store(uri, sweep, root)
        trials = (run for run in store.runs() if run.tags["role"] == "trial" and run.tags.get("state") == "finished")
        runs = {int(run.tags["trial"]): run for run in trials}
        changed = sum(
            add_confirmations(store, runs[trial], confirmations[trial]) for trial in confirmations.keys() & runs.keys()
        )
        return changed, sorted(confirmations.keys() - runs.keys())


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
    with answering(uri):
        found = None if is_missing(uri) else experiment_id(connect(uri), sweep)
    return f"{address}/#/experiments/{found}" if found else address


def connect(uri: str) -> "MlflowClient":
    """A client of a store, after MLflow's own talk and patience were cut down."""
    quiet = "MLFLOW_LOGGING_LEVEL" not in os.environ
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    if quiet:  # somebody may have imported mlflow before this; urllib3 reports every retry
        for name in ("mlflow", "alembic", "urllib3.connectionpool"):
            logging.getLogger(name).setLevel(logging.ERROR)
    return MlflowClient(uri, uri)


def is_missing(uri: str) -> bool:
    """Whether it is a database that does not exist yet."""
    # MLflow would make the database, and its folder too.
    return uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists()


def _artifacts(root: Path) -> str:
    return (root.absolute() / "mlflow-artifacts").as_uri()


def experiment_id(client: "MlflowClient", sweep: str) -> str | None:
    """Of the experiment of a sweep, if there is one."""
    found = client.get_experiment_by_name(sweep)
    return found.experiment_id if found else None


def runs_of(client: "MlflowClient", experiment: str) -> Iterator[Run]:
    """The active runs of an experiment that mirror a sweep or a trial, oldest first."""
    token: str | None = None
    while token is None or token:
        page = client.search_runs([experiment], order_by=["start_time ASC"], max_results=_PAGE, page_token=token)
        yield from (_known(run) for run in page if run.data.tags.get("role") in ("sweep", "trial"))
        token = page.token or ""


def _known(run: "MlflowRun") -> Run:
    latest = {point.key: (point.step, point.value) for point in run.data.to_proto().metrics}
    return Run(run.info.run_id, run.info.status, dict(run.data.tags), dict(run.data.params), latest)


def _refused(error: Exception) -> bool:
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        status = error.get_http_status_code()
        return 400 <= status < 500 and status not in _NOT_ABOUT_ROWS
    return not isinstance(error, OSError) or isinstance(error, FileNotFoundError)


def _explain(error: Exception) -> str:
    return redact(str(error).strip().split("\n")[0])[:300] or type(error).__name__


@contextmanager
def answering(uri: str) -> Iterator[None]:
    """Makes one message of whatever a store does wrong."""
    try:
        yield
    except (SweepError, KeyError, TypeError):
        raise
    except Exception as error:
        text = f"MLflow store {redact(uri)}: must answer, but got: {_explain(error)}. Check the address and try again."
        raise SweepError(text, exit_code=1) from None
