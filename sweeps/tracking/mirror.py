"""The mirror of a running sweep in MLflow: filled from the background, allowed to fail."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from search_spaces.space import SearchSpace
from sweeps import results
from sweeps.tracking.experiment import Experiment
from sweeps.tracking.mlflow_store import explain, open_store, redact, refused
from sweeps.tracking.outbox import LAST, Outbox, Row
from sweeps.tracking.overview import Overview

MOST_ROWS = 50_000
"""Rows that may wait for the store; they take some 100 MB."""
BLOCK = 256
"""Trials that are read from Parquet at a time, to make their runs."""

_REPAIR = "repair"


class Mirror:
    """Mirrors a running sweep. Its methods return at once; see `Outbox` for what happens on errors.

    Rows have the columns of `sweeps.results`; a started or waiting trial needs `trial` and `attempt` only. While more
    than `MOST_ROWS` wait for a store that is slow or dead, of further trials only the numbers are kept: when they have
    ended, their runs are made from Parquet. So a sweep of any length keeps the same little in memory.

    Args:
        uri: A store of MLflow: a database or a server's address.
        sweep: The sweep's name, which becomes the experiment's.
        root: The folder of all sweeps; artifacts are kept there if `uri` is its default store.
        interval_seconds: Least time between two rounds of requests.
    """

    def __init__(self, uri: str, sweep: str, *, root: Path, interval_seconds: float = 2.0) -> None:
        self._behind: set[int] = set()
        made = count()
        self._outbox = Outbox(
            lambda: _Receiver(
                lambda: Experiment(open_store(uri, sweep, root), sweep), _Recall(root, sweep), doubtful=next(made) > 0
            ),
            refused,
            name=f"MLflow store {redact(uri)}",
            explain=explain,
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

    def start_sweep(
        self, params: Mapping[str, Any], tags: Mapping[str, Any], *, space: SearchSpace | None = None
    ) -> None:
        """A session begins or goes on. A parameter that changed since an earlier session is also kept as a tag.

        Args:
            params: Of the sweep.
            tags: Of the sweep.
            space: What MLflow's page is to show the columns of.
        """
        values: dict[str, Any] = {"params": params, "tags": {**tags, "state": "running"}}
        self._outbox.add("sweep", [("sweep", values | ({"space": space} if space else {}))])

    def trials_started(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Trials begin; one that begins again, in a later attempt, gets a new run in place of its old one."""
        if self._outbox.lag > MOST_ROWS:
            self._behind.update(row["trial"] for row in rows)
        else:
            self._add("started", [{**row, "state": "running"} for row in rows])

    def trials_waiting(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Trials were interrupted and wait for the next session."""
        self._add("waiting", ({**row, "state": "waiting"} for row in rows))

    def epochs(self, epochs: results.Table) -> None:
        """Epochs ended: a table of `sweeps.results.EPOCHS`."""
        if self._outbox.lag + len(epochs) > MOST_ROWS:
            self._behind.update(epochs.column("trial").to_pylist())
        else:
            self._outbox.add_later("epoch", len(epochs), lambda: _keyed(epochs.to_pylist()))

    def trials_ended(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Trials ended, finished, stopped or failed, and are in Parquet."""
        for row in rows:
            if row["trial"] in self._behind or self._outbox.lag > MOST_ROWS:
                self._behind.discard(row["trial"])
                self._add(_REPAIR, [{"trial": row["trial"]}])
            else:
                self._add("ended", [row])

    def mark_front(self, trials: Iterable[int]) -> None:
        """These trials are the front now: their runs are tagged, and those of the trials that left it no more."""
        self._outbox.add("sweep", [("sweep", {"front": frozenset(trials)})])

    def finish(self, state: str, overview: Overview | None = None) -> None:
        """The session ends; sent after everything else. `finished` and `failed` are shown so, all else as killed.

        Args:
            state: How it ended.
            overview: The sweep as a whole; None when no trial has ended.
        """
        self._outbox.add("sweep", [(LAST, {"tags": {"state": state}, "overview": overview})])

    def close(self, timeout_seconds: float) -> int:
        """Sends what is left and returns the number of rows not mirrored; 0 means that the mirror is equal."""
        return self._outbox.close(timeout_seconds)

    def _add(self, kind: str, rows: Iterable[Mapping[str, Any]]) -> None:
        self._outbox.add(kind, _keyed(rows))


def _keyed(rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((str(row["trial"]), row) for row in rows)


class _Receiver:
    """Brings runs up to date: from the rows it is given, or from Parquet where there are none.

    Args:
        look: Finds the runs, and removes doubles among them.
        recall: Reads Parquet.
        doubtful: Whether a request has failed before. It may be carried out after this has looked, and make a double:
            so the end of the sweep looks again.
    """

    def __init__(self, look: Callable[[], Experiment], recall: "_Recall", *, doubtful: bool) -> None:
        self._look, self._recall, self._doubtful = look, recall, doubtful
        self._experiment = look()

    def __call__(self, rows: Sequence[Row]) -> None:
        """Takes the rows of one key."""
        if self._doubtful and rows[-1].key == LAST:
            self._experiment, self._doubtful = self._look(), False
        repairs = [row for row in rows if row.kind == _REPAIR]
        if repairs:
            self._experiment.repair(*self._recall(repairs[-1].values["trial"]))
        else:
            self._experiment.apply(rows)


class _Recall:
    """Rows of ended trials from Parquet, with those of their neighbours, which are asked for next."""

    def __init__(self, root: Path, sweep: str) -> None:
        self._root, self._sweep = root, sweep
        self._known: dict[int, tuple[Mapping[str, Any], list[Mapping[str, Any]]]] = {}

    def __call__(self, trial: int) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
        """The row of a trial, and those of all its epochs.

        Raises:
            KeyError: If the trial has not ended.
        """
        if trial not in self._known:
            trials, epochs = results.load_block(self._root, self._sweep, range(trial, trial + BLOCK))
            self._known = {row["trial"]: (row, []) for row in trials.to_pylist()}
            for row in epochs.to_pylist():
                if row["trial"] in self._known:
                    self._known[row["trial"]][1].append(row)
        return self._known[trial]
