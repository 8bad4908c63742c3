"""What a new session finds of earlier ones, brought into agreement before anything is trained."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sweeps import results
from sweeps.errors import SweepError
from sweeps.results import ResultsWriter
from sweeps.search.study import StudyTrial, SweepStudy
from sweeps.store.paths import SweepPaths
from sweeps.worker import checkpoints
from sweeps.worker.checkpoints import Reached

Row = dict[str, Any]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """What earlier sessions left.

    Attributes:
        rows: Of ended trials, every attempt.
        reached: How far the states go that are kept of trials that have not ended, by trial.
    """

    rows: list[Row]
    reached: dict[int, Reached]


def reconcile(paths: SweepPaths, study: SweepStudy, writer: ResultsWriter) -> Found:
    """Tells the study what Parquet knows, writes into Parquet what only the study knows, and takes stock of states.

    Args:
        paths: Of the sweep.
        study: A driver may have died before it was told, or its journal may have lost its end.
        writer: Of the Parquet files; it has set aside those that cannot be read.

    Raises:
        SweepError: If results cannot be written, or the study's disk or database fails.
    """
    rows = results.load(paths.root, paths.name, every_attempt=True).to_pylist()
    try:
        study.restore(rows, results.attempts(paths.root, paths.name, first=study.first_open))
        told = study.trials()
    except OSError as error:
        raise SweepError(
            f"{study.place}: the study must be readable and writable, but got: {error}. Nothing is lost; mend that and "
            f"go on with: sweeps resume {paths.name}{paths.root_option}",
            exit_code=1,
        ) from error
    lost = _lost(told, {row["trial"] for row in rows})
    if lost:
        epochs = results.of_trials(results.load_epochs(paths.root, paths.name, latest_attempt=False), lost)
        written = [*_rewritten(lost.values(), epochs.to_pylist())]
        writer.add_trials(results.trials_table(written))
        writer.flush()
        rows += written
    return Found(rows, _reached(paths, study))


def _lost(told: Iterable[StudyTrial], there: set[int]) -> dict[int, StudyTrial]:
    """The trials that the study calls ended and that are not in Parquet."""
    return {trial.number: trial for trial in told if trial.state != "waiting" and trial.number not in there}


def _rewritten(lost: Iterable[StudyTrial], epochs: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    """Rows out of the study's record and of the epochs; the study does not know pack, place and time of a trial."""
    by_trial: dict[int, list[Mapping[str, Any]]] = {}
    for row in epochs:
        by_trial.setdefault(row["trial"], []).append(row)
    for trial in lost:
        own = [row for row in by_trial.get(trial.number, []) if row["attempt"] == trial.result["attempt"]]
        last = max(own, key=lambda row: row["epoch"], default={})
        _LOG.warning("trial %d: its row in Parquet was lost and is written again from the study", trial.number)
        yield {
            "trial": trial.number,
            **trial.config,
            **trial.result,
            "epochs_done": last.get("epoch", 0),
            "layers": last.get("layers"),
            "started": trial.started,
            "ended": trial.ended,
        }


def _reached(paths: SweepPaths, study: SweepStudy) -> dict[int, Reached]:
    found = checkpoints.take_stock(paths.checkpoints, study.open_trials())
    if not found:
        return {}
    epochs = results.load_epochs(paths.root, paths.name, latest_attempt=False).select(["trial", "attempt", "epoch"])
    return checkpoints.recorded(found, results.of_trials(epochs, found).to_pylist())
