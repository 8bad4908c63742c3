"""The mirror's thread: it never waits, never raises, and is complete in the end, whatever the store does."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from sweeps.results import ResultsWriter, epochs_table, trials_table
from sweeps.tracking import mirror, mirrored, mlflow_store, uploader
from sweeps.tracking.experiment import OFFSET
from sweeps.tracking.mirror import Mirror
from sweeps.tracking.replay import sync
from sweeps.tracking.store import Run
from tests.sweeps.memory_store import MemoryStore
from tests.sweeps.mirrored_sweep import Driven, epoch_row, start_row, train, trial_row

# MLflow 3.17 with SQLAlchemy 2.1; the mirror would take the warning turned error for a broken store.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

Row = dict[str, Any]
TRIALS = 12


class Place:
    """Where a store is, or nobody, or a store that does not answer."""

    def __init__(self, *, dead_connections: int = 0, gate: threading.Event | None = None) -> None:
        self.store: MemoryStore = MemoryStore()
        self.connections, self.dead_connections, self.gate = 0, dead_connections, gate

    def open(self, *_: Any) -> MemoryStore:
        self.connections += 1
        if self.connections <= self.dead_connections:
            raise ConnectionError("nobody at http://me:secret@place")
        if self.gate:
            assert self.gate.wait(10)
        return self.store

    def states(self) -> list[str]:
        return [run.tags["state"] for run in self.store.runs()]


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    made = Place()
    mlflow_store.refused(OSError())  # imports MLflow, which takes longer than the patience below
    monkeypatch.setattr(mirror, "open_store", made.open)
    monkeypatch.setattr(mirror, "_FIRST_DELAY_SECONDS", 0.01)
    monkeypatch.setattr(mirror, "_LAST_DELAY_SECONDS", 0.05)
    monkeypatch.setattr(mirror, "_DEAD_SECONDS", 0.5)
    return made


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("most_rows", [1, 5, 20, 10**6])
def test_a_mirror_that_lags_reads_parts_bit_by_bit(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ended_row: Callable[..., Row],
    epoch_rows: Callable[[Row], list[Row]],
    most_rows: int,
) -> None:
    monkeypatch.setattr(uploader, "MOST_ROWS", most_rows)
    monkeypatch.setattr("sweeps.tracking.backlog.BLOCK", 5)
    rows = [ended_row(trial, attempt=1 + (trial == 3)) for trial in range(TRIALS)]
    uri = mlflow_store.default_uri(tmp_path)
    writer, made = (
        ResultsWriter(tmp_path / "small"),
        Mirror(uri, "small", root=tmp_path, interval_seconds=0.01),
    )
    for row in rows:
        made.trials_started([row])
        for epoch in epoch_rows(row):
            writer.add_epochs(epochs_table([epoch]))
            writer.flush()
            made.parts_written()
        writer.add_trials(trials_table([row]))
        writer.flush()
        made.parts_written()
    writer.compact(more_than=1)
    made.finish("finished")
    assert made.close(60) == 0
    assert (made.rejected, made.lag) == ({}, 0)
    found = mirrored.read(uri, "small", root=tmp_path, count_steps=True)
    assert [(run.trial, run.attempt, run.state, run.steps) for run in found] == [
        (row["trial"], row["attempt"], "finished", 2) for row in rows
    ]
    for run, row in zip(found, rows, strict=True):
        assert run.metrics["val_accuracy"] == row["val_accuracy"]
        assert run.metrics["test_accuracy"] == row["test_accuracy"]
    assert sync(uri, "small", root=tmp_path) == 0  # nothing is left to repair


class Late(MemoryStore):
    """Makes runs when nobody waits for them any more: each is found only after another was made in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.late: dict[str, Run] = {}

    def create(self, name: str, tags: Mapping[str, str], stamp: int) -> str:
        if name not in self.late:
            self.late[name] = Run(f"{name}-late", tags=dict(tags))
            raise TimeoutError(name)
        made = super().create(name, tags, stamp)
        self.all |= {run.run_id: run for run in self.late.values()}
        self.points |= {run.run_id: [] for run in self.late.values()}
        return made


def test_a_run_that_was_made_after_its_request_was_given_up_is_removed_when_the_sweep_ends(
    tmp_path: Path, place: Place
) -> None:
    place.store = store = Late()
    made = Driven(tmp_path)
    made.start_sweep({"trials": 1}, {})
    train(made, range(1))
    made.finish("finished")
    assert made.close(60) == 0
    assert len(store.deleted) == len(store.late) == 2
    parent, run = store.runs()
    assert (parent.tags["role"], parent.tags["state"], parent.params) == ("sweep", "finished", {"trials": "1"})
    assert (run.tags["state"], run.tags["mlflow.parentRunId"]) == ("finished", parent.run_id)
    assert run.last == 3


def test_nothing_to_send_connects_nowhere(tmp_path: Path, place: Place) -> None:
    made = Driven(tmp_path)
    made.parts_written()
    assert made.close(10) == 0
    assert place.connections <= 1


def test_a_dead_store_costs_one_warning_and_no_row(
    tmp_path: Path, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.dead_connections = 4
    with caplog.at_level(logging.WARNING):
        made = Driven(tmp_path, "http://me:secret@place")
        train(made, range(2))
        made.finish("finished")
        assert made.close(10) == 0
    assert place.states() == ["finished"] * 3
    assert caplog.messages == [
        "upload to MLflow at http://***@place failed: nobody at http://***@place. "
        "The sweep continues; the upload will be retried."
    ]


def test_close_gives_up_on_a_dead_store_soon_and_counts_what_it_lacks(tmp_path: Path, place: Place) -> None:
    place.dead_connections = 10**6
    made = Driven(tmp_path)
    made.start_sweep({}, {})
    train(made, range(2))
    made.writer.compact(more_than=1)
    wait_for(lambda: made.lag == 8)
    began = time.monotonic()
    assert made.close(60) == 9  # six epochs, two ends, and the sweep's own run
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("has_failed", [True, False])
def test_close_does_not_wait_long_for_a_store_that_is_silent(tmp_path: Path, place: Place, *, has_failed: bool) -> None:
    place.gate, place.dead_connections = threading.Event(), int(has_failed)
    made = Driven(tmp_path)
    made.epochs([epoch_row(0, 1)])
    wait_for(lambda: place.connections > has_failed)
    began = time.monotonic()
    assert made.close(60 if has_failed else 0.2) == 1
    assert time.monotonic() - began < 30
    place.gate.set()


def test_what_a_store_took_before_it_died_is_not_missing(tmp_path: Path, place: Place) -> None:
    made = Driven(tmp_path)
    train(made, range(2))
    wait_for(lambda: any(run.tags.get(OFFSET, "").endswith(" 8") for run in place.store.runs()))

    def send(run: Run, _: int) -> None:
        if run.new_tags or run.new_metrics:
            raise ConnectionError("gone")

    place.store.send = send  # type: ignore[method-assign]
    train(made, range(2, 3))
    made.writer.compact(more_than=1)
    assert made.close(60) == 4


class Picky(MemoryStore):
    """Fails, or refuses, whatever is about one trial."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error, self.is_picky = error, True

    def create(self, name: str, tags: Mapping[str, str], stamp: int) -> str:
        if self.is_picky and tags.get("trial") == "0":
            raise self.error
        return super().create(name, tags, stamp)


def test_a_trial_that_always_fails_does_not_hold_up_the_others(tmp_path: Path, place: Place) -> None:
    place.store = store = Picky(OSError("500"))
    made = Driven(tmp_path)
    train(made, range(2))
    wait_for(lambda: place.states().count("finished") == 1)
    train(made, range(2, 4))
    wait_for(lambda: place.states().count("finished") == 3)
    made.finish("finished")
    time.sleep(0.2)
    assert place.states().count("finished") == 3  # the end waits for the trial
    store.is_picky = False
    assert made.close(10) == 0
    assert place.states() == ["finished"] * 5


def test_a_trial_that_is_refused_is_left_out_and_sent_by_the_next_session(
    tmp_path: Path, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.store = store = Picky(ValueError("odd"))
    with caplog.at_level(logging.WARNING):
        made = Driven(tmp_path, "http://place")
        train(made, range(2))
        made.finish("finished")
        assert made.close(20) == 4
    assert made.rejected == {0: "odd"}
    assert caplog.messages == ["MLflow at http://place rejected trial 0: odd. It is left out."]
    assert place.states() == ["finished"] * 2
    store.is_picky = False
    second = Driven(tmp_path)
    second.start_sweep({}, {})
    assert second.close(10) == 0
    assert len(store.active(0)) == len(store.active(1)) == 1
    assert store.deleted == []


def test_a_new_outage_is_told_again(tmp_path: Path, place: Place, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        made = Driven(tmp_path)
        for epoch, fault in ((1, "first"), (2, "second")):
            faults = [ConnectionError(fault)]

            def send(*arguments: Any, faults: list[ConnectionError] = faults) -> None:
                if faults:
                    raise faults.pop()
                MemoryStore.send(place.store, *arguments)

            place.store.send = send  # type: ignore[method-assign]
            made.epochs([epoch_row(0, epoch)])
            wait_for(lambda: not faults and not made.lag)  # noqa: B023
            wait_for(lambda: not made._has_failed)  # pyright: ignore[reportPrivateUsage]
        assert made.close(10) == 0
    assert [message.split("failed: ")[1].split(".")[0] for message in caplog.messages] == ["first", "second"]


def test_hints_that_nobody_takes_stay_few(tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploader, "MOST_HINTS", 3)
    place.gate = threading.Event()
    made = Driven(tmp_path)
    made.start_sweep({"trials": 9}, {})
    made.parts_written()
    wait_for(lambda: place.connections)
    for trial in range(9):
        made.trials_started([start_row(trial)])
    place.gate.set()
    assert made.close(10) == 0
    assert [run.tags.get("trial") for run in place.store.runs()] == [None, "6", "7", "8"]


def test_the_end_comes_after_everything_else(tmp_path: Path, place: Place) -> None:
    place.gate = threading.Event()
    made = Driven(tmp_path)
    made.finish("interrupted")
    made.trials_waiting([{"trial": 1, "attempt": 1}])
    train(made, range(1))
    place.gate.set()
    assert made.close(10) == 0
    assert place.states() == ["interrupted", "waiting", "finished"] or place.states() == [
        "interrupted", "finished", "waiting",
    ]  # fmt: skip
    assert trial_row(0)["val_loss"] == place.store.history(place.store.active(0)[0], "val_loss")[-1][1]
