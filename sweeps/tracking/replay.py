"""One loop fills MLflow: it reads the Parquet parts after an offset and applies them to the runs.

A driver's `Mirror` goes on from the offset that the store remembers; `sync`, behind `sweeps mlflow-sync`, begins at 0.
"""

from collections.abc import Callable
from pathlib import Path

from sweeps.store.paths import SweepPaths
from sweeps.tracking.backlog import Batch, Length, News, Offset, whole
from sweeps.tracking.experiment import Experiment
from sweeps.tracking.mlflow_store import answering, open_store
from sweeps.tracking.overview import Overview, params

Apply = Callable[[News], bool]
"""A method of an experiment."""


def replay(
    experiment: Experiment,
    paths: SweepPaths,
    offset: Offset,
    *,
    most_rows: int | None = None,
    attempt: Callable[[Apply, News], bool] = lambda apply, news: apply(news),
) -> Batch:
    """Applies the parts after an offset. Rows that the runs have already change nothing.

    Args:
        experiment: The runs.
        paths: Of the sweep.
        offset: Where to begin.
        most_rows: No further part of epochs is read once there are so many; all by default.
        attempt: Calls a method of the experiment with rows of one trial.

    Returns:
        What was read.
    """
    batch = Batch(paths, offset, most_rows=most_rows)
    is_everything = offset == Offset() and batch.is_all
    for block in batch.blocks():
        left = [news for news in block if not attempt(experiment.add, news)]
        for news in left if is_everything or not left else whole(paths, [news.trial for news in left]):
            attempt(experiment.rebuild, news)
    return batch


def sync(
    uri: str,
    sweep: str,
    *,
    root: Path,
    state: str = "finished",
    overview: Overview | None = None,
) -> int:
    """Makes a store equal the Parquet files of a sweep. Doing it again changes nothing.

    Args:
        uri: See `sweeps.tracking.mirror.Mirror`.
        sweep: See `sweeps.tracking.mirror.Mirror`.
        root: See `sweeps.tracking.mirror.Mirror`.
        state: Of the sweep.
        overview: The sweep as a whole.

    Returns:
        The number of runs that were made, replaced, completed or removed. Runs of trials without rows are left alone.

    Raises:
        SweepError: If the store does not answer or refuses.
    """
    paths = SweepPaths(root, sweep)
    with answering(uri):
        experiment = Experiment(open_store(uri, sweep, root), sweep, is_live=False)
        doubles = experiment.removed
        batch = replay(experiment, paths, Offset())
        if overview:  # its front can be tagged now that all runs are there
            experiment.begin(params(overview.space), {}, overview.space)
        experiment.conclude(state, overview)
        if not batch.is_torn:
            experiment.commit(Length(paths).offset(batch.epochs, batch.trials))
        return doubles + len(experiment.changed)
