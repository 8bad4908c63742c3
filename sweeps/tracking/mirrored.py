"""What MLflow holds of a sweep, for comparison."""

from dataclasses import dataclass
from pathlib import Path

from sweeps.store.paths import SweepPaths
from sweeps.tracking.identity import read_id
from sweeps.tracking.mlflow_store import answering, connect, experiment_id, is_missing, runs_of
from sweeps.tracking.store import Run


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
        tags: All of its tags.
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
    tags: dict[str, str]
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
    own = read_id(SweepPaths(root, sweep))
    if own is None or is_missing(uri):
        return []
    with answering(uri):
        client = connect(uri)
        found = experiment_id(client, sweep)
        runs = list(runs_of(client, found, own)) if found else []
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
                tags=run.tags,
                steps=len(client.get_metric_history(run.run_id, "val_accuracy")) if count_steps else None,
            )
            for run in runs
            if run.tags["role"] == "trial"
        ]
    return sorted(trials, key=lambda trial: trial.trial)


def read_parent(uri: str, sweep: str, *, root: Path) -> Run | None:
    """The sweep's own run; None when there is none. Creates nothing.

    Raises:
        SweepError: If the store does not answer.
    """
    own = read_id(SweepPaths(root, sweep))
    if own is None or is_missing(uri):
        return None
    with answering(uri):
        client = connect(uri)
        found = experiment_id(client, sweep)
        return next(runs_of(client, found, own, "tags.role = 'sweep'"), None) if found else None
