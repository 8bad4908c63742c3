"""MLflow, where sweeps are mirrored for browsing: its runs, its addresses, and what its errors mean.

A sweep is one experiment with one parent run (tag `role=sweep`) and one child run per trial (`role=trial`); see
`sweeps.tracking.experiment` for what they hold. Sweeps of one name share the experiment, and each sees those runs only
that have its tag `sweep_id`. Only this module and `sweeps.tracking.model_registry` import mlflow, and only when there
is something to do: that takes seconds.
"""

import logging
import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.errors import SweepError
from sweeps.objectives import Key, network_name
from sweeps.store.paths import SweepPaths
from sweeps.tracking.confirmed_runs import add_confirmations
from sweeps.tracking.identity import SWEEP_ID, make_id, read_id
from sweeps.tracking.store import ENDED, Run, Store
from sweeps.tracking.views import ALL, FRONT, run_address, view_address

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

_STATUS = {"running": "RUNNING", "waiting": "SCHEDULED", "finished": "FINISHED", "failed": "FAILED"}
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds; MLflow's own 120 would outlast any patience at the end of a sweep
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # a request that only seemed to fail would be carried out twice
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # what is wrong arrives here as an exception; MLflow would print its traceback
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines a run, among the results
}
_DATABASES = ("sqlite:", "postgresql", "mysql", "mssql")
"""Stores without a server, which would have their artifacts in the folder that a command happens to be called in."""
_NOT_ABOUT_ROWS = (401, 403, 408, 409, 429)  # HTTP codes about who asks, or about the moment
_MOST_METRICS, _MOST_NAMES, _PAGE = 1000, 100, 1000  # in one request


def default_uri(root: Path) -> str:
    """The store of all sweeps under `root` when no tracking server is given."""
    return f"sqlite:///{root.absolute() / 'mlflow.db'}"


def uri_option(uri: str | None) -> str:
    """What follows a command that is to find a server; nothing for the store in the root. Without its password."""
    return f" --tracking-uri {shlex.quote(redact(uri))}" if uri else ""


def redact(text: str) -> str:
    """`text` with the passwords of the addresses in it replaced, fit for a log."""
    text = re.sub(r"://[^/\s]*@", "://***@", text)
    return re.sub(r"(?i)\b(\w*password|\w*token)=[^&\s]+", r"\1=***", text)


class _Store:
    """The runs of one sweep in MLflow, in the experiment of its name, which is made if missing."""

    def __init__(self, uri: str, sweep: str, root: Path) -> None:
        self.sweep_id = make_id(SweepPaths(root, sweep))
        self._client = connect(uri)
        found = experiment_id(self._client, sweep)
        if found is None:
            found = self._client.create_experiment(sweep, _artifacts(root) if uri.startswith(_DATABASES) else None)
        elif self._client.get_experiment(found).lifecycle_stage == "deleted":
            self._client.restore_experiment(found)
        self._experiment = found

    def runs(self) -> Iterable[Run]:
        return runs_of(self._client, self._experiment, self.sweep_id)

    def create(self, name: str, tags: Mapping[str, str], stamp: int) -> str:
        return self._client.create_run(self._experiment, stamp, {**tags, SWEEP_ID: self.sweep_id}, name).info.run_id

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

    def untag(self, run_id: str, tag: str) -> None:
        self._client.delete_tag(run_id, tag)

    def keep(self, run_id: str, path: Path) -> None:
        self._client.log_artifact(run_id, str(path))

    def label(self, tags: Mapping[str, str]) -> None:
        there = self._client.get_experiment(self._experiment).tags
        for name, value in tags.items():
            if there.get(name) != value:
                self._client.set_experiment_tag(self._experiment, name, value)


def open_store(uri: str, sweep: str, root: Path) -> Store:
    """The experiment of one sweep in MLflow, made if missing; for the arguments see `sweeps.tracking.mirror`."""
    return _Store(uri, sweep, root)


def send_confirmations(
    uri: str, sweep: str, *, root: Path, confirmations: Mapping[Key, Sequence[Mapping[str, Any]]]
) -> tuple[int, list[str]]:
    """Adds what networks reached with fresh seeds to their trials' runs.

    Makes and removes no run; doing it again adds nothing.

    Args:
        uri: See `sweeps.tracking.mirror.Mirror`.
        sweep: See `sweeps.tracking.mirror.Mirror`.
        root: See `sweeps.tracking.mirror.Mirror`.
        confirmations: All rows of `sweeps.confirmations` of each network, see `sweeps.analysis.confirmed.by_network`.

    Returns:
        The number of runs that changed, and the networks whose trials' runs are not there or have not ended.

    Raises:
        SweepError: If the store does not answer or refuses.
    """
    names = {key: network_name(key) for key in sorted(confirmations)}
    if is_missing(uri) or read_id(SweepPaths(root, sweep)) is None:
        return 0, [*names.values()]
    with answering(uri):
        if experiment_id(connect(uri), sweep) is None:
            return 0, [*names.values()]
        store = open_store(uri, sweep, root)
        trials = (run for run in store.runs() if run.tags["role"] == "trial" and run.tags.get("state") in ENDED)
        runs = {int(run.tags["trial"]): run for run in trials}
        own: dict[int, dict[int, Sequence[Mapping[str, Any]]]] = {}
        for trial, epoch in names:
            own.setdefault(trial, {})[epoch] = confirmations[trial, epoch]
        changed = sum(add_confirmations(store, runs[trial], own[trial]) for trial in own.keys() & runs.keys())
        return changed, [name for (trial, _), name in names.items() if trial not in runs]


def ui_command(uri: str, *, root: Path, port: int) -> list[str]:
    """The command line of MLflow's page on a database, reachable from this machine only."""
    store = ["--backend-store-uri", uri, "--default-artifact-root", _artifacts(root)]
    return [sys.executable, "-m", "mlflow", "ui", *store, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]


def addresses(uri: str, sweep: str, *, root: Path, port: int = 5000) -> dict[str, str]:
    """Where a browser finds the sweep: on the server of `uri`, or on the page of `ui_command` at `port`.

    Returns:
        Addresses by what is there: the trials, the front, and the sweep's own run with its files. Only the server's
        own address when it has no such sweep.

    Raises:
        SweepError: If the store does not answer.
    """
    server = redact(uri).rstrip("/") if uri.startswith(("http://", "https://")) else f"http://127.0.0.1:{port}"
    own = read_id(SweepPaths(root, sweep))
    if own is None or is_missing(uri):
        return {"MLflow": server}
    with answering(uri):
        client = connect(uri)
        found = experiment_id(client, sweep)
        parent = next(runs_of(client, found, own, "tags.role = 'sweep'"), None) if found else None
    if found is None or parent is None:
        return {"MLflow": server}
    return {
        "trials": view_address(server, found, ALL, own),
        "front": view_address(server, found, FRONT, own),
        "report, files": run_address(server, found, parent.run_id),
    }


def connect(uri: str) -> "MlflowClient":
    """A client of a store, after MLflow's own talk and patience were cut down."""
    quiet = "MLFLOW_LOGGING_LEVEL" not in os.environ
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    if quiet:  # somebody may have imported mlflow before this; urllib3 reports every retry
        for name in ("mlflow", "alembic", "urllib3.connectionpool"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    return MlflowClient(uri, uri)


def version_of(uri: str) -> str | None:
    """The MLflow version of a server, this process's own for a database; None for a database that does not exist yet.

    Raises:
        SweepError: If the store does not answer.
    """
    if is_missing(uri):
        return None
    with answering(uri):
        connect(uri).search_experiments(max_results=1)
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request
        from mlflow.version import VERSION

        if not uri.startswith(("http://", "https://")):
            return VERSION
        answer: Any = http_request(get_default_host_creds(uri), "/version", "GET")
        answer.raise_for_status()
        return answer.text.strip()


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


def runs_of(client: "MlflowClient", experiment: str, sweep_id: str, where: str = "") -> Iterator[Run]:
    """The active runs in an experiment that mirror a sweep or its trials, oldest first, of those that MLflow finds."""
    where = " and ".join([f"tags.{SWEEP_ID} = '{sweep_id}'", *([where] if where else [])])
    token: str | None = None
    while token is None or token:
        page = client.search_runs([experiment], where, order_by=["start_time ASC"], max_results=_PAGE, page_token=token)
        yield from (_known(run) for run in page if run.data.tags.get("role") in ("sweep", "trial"))
        token = page.token or ""


def _known(run: "MlflowRun") -> Run:
    latest = {point.key: (point.step, point.value) for point in run.data.to_proto().metrics}
    return Run(run.info.run_id, run.info.status, dict(run.data.tags), dict(run.data.params), latest)


def refused(error: Exception) -> bool:
    """Whether an error of MLflow is about what it was sent, rather than about the connection."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        status = error.get_http_status_code()
        return 400 <= status < 500 and status not in _NOT_ABOUT_ROWS
    return not isinstance(error, OSError) or isinstance(error, FileNotFoundError)


def explain(error: Exception) -> str:
    """An error of MLflow in one line without secrets."""
    return redact(str(error).strip().split("\n")[0])[:300] or type(error).__name__


@contextmanager
def answering(uri: str) -> Iterator[None]:
    """Turns any error of a request into one message."""
    try:
        yield
    except (SweepError, KeyError, TypeError):
        raise
    except Exception as error:
        text = f"request to MLflow at {redact(uri)} failed: {explain(error)}. Check the address and try again."
        raise SweepError(text, exit_code=1) from None
