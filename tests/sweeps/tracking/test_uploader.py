"""Whatever happens between a driver's files and a store, the store ends like one that was filled at once."""

import copy
import math
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.results import BEST, ResultsWriter, epochs_table, load_epochs, trials_table
from sweeps.store.paths import SweepPaths
from sweeps.tracking import uploader
from sweeps.tracking.backlog import Length, Offset
from sweeps.tracking.experiment import Experiment
from sweeps.tracking.replay import replay
from sweeps.tracking.store import Run
from sweeps.tracking.trajectory import EPOCH_METRICS
from sweeps.tracking.uploader import LAST, Uploader
from tests.sweeps.memory_store import MemoryStore
from tests.sweeps.mirrored_sweep import config, epoch_row, trial_row

Row = dict[str, Any]
TRIALS, EPOCHS = 3, 4


class Flaky(MemoryStore):
    """Fails at some requests: at half of them after they were carried out."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str | None] = []

    def _request(self, work: Callable[[], Any]) -> Any:
        fault = self.faults.pop(0) if self.faults else None
        if fault == "before":
            raise ConnectionError("no answer")
        done = work()
        if fault == "after":
            raise ConnectionError("no answer")
        return done

    def runs(self) -> Iterable[Run]:
        return self._request(lambda: list(super(Flaky, self).runs()))

    def create(self, name: str, tags: Mapping[str, str], stamp: int) -> str:
        return self._request(lambda: super(Flaky, self).create(name, tags, stamp))

    def delete(self, run_id: str) -> None:
        self._request(lambda: super(Flaky, self).delete(run_id))

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        return self._request(lambda: super(Flaky, self).history(run_id, metric))

    def send(self, run: Run, stamp: int) -> None:
        if run.new_tags or run.new_params or run.new_metrics:
            self._request(lambda: super(Flaky, self).send(run, stamp))


def content(store: MemoryStore) -> dict[str, Any]:
    """What can be seen of the trials in a store, but for times and what hints said."""
    found = {}
    for run in store.runs():
        if run.tags["role"] == "trial":
            points = sorted((name, step, value) for name, value, _, step in store.points[run.run_id])
            ended = run.tags["state"] in ("finished", "failed")
            tags = {name: run.tags.get(name) for name in ("attempt", "non_finite", "host", "mlflow.note.content")}
            assert run.tags["trial"] not in found, "two runs of a trial"
            found[run.tags["trial"]] = (points, tags, run.tags["state"], run.params) if ended else (points, tags)
    return found


class Sweep:
    """A driver with its files, and the loop that uploads them."""

    def __init__(self, root: Path) -> None:
        self.paths, self.store = SweepPaths(root, "digits"), Flaky()
        self.epochs, self.attempts, self.ended = [0] * TRIALS, [1] * TRIALS, [False] * TRIALS
        self.resume()

    def train(self, trial: int) -> None:
        if not self.ended[trial] and self.epochs[trial] < EPOCHS:
            self.epochs[trial] += 1
            attempt, epoch = self.attempts[trial], self.epochs[trial]
            changed = {"train_loss": math.nan} if (trial, epoch) == (2, 3) else {}
            row = epoch_row(trial, epoch, attempt=attempt, val_loss=attempt / epoch, **changed)
            self.writer.add_epochs(epochs_table([row]))

    def lose(self, trial: int) -> None:
        """A worker dies; the trial goes on from the middle."""
        if not self.ended[trial]:
            self.attempts[trial] += 1
            self.epochs[trial] //= 2

    def end(self, trial: int) -> None:
        if not self.ended[trial]:
            self.ended[trial] = True
            epochs, attempt = self.epochs[trial], self.attempts[trial]
            state = "finished" if epochs == EPOCHS else "failed"
            row = trial_row(trial, attempt=attempt, epochs_done=epochs, state=state) if epochs else self._nothing(trial)
            reason = None if state == "finished" else "crashed"
            last = {"val_loss": self._last(trial)["val_loss"]} if epochs else {}
            self.writer.add_trials(trials_table([row | {"reason": reason} | last]))

    def _nothing(self, trial: int) -> Row:
        none = dict.fromkeys((*EPOCH_METRICS, *BEST))
        row = trial_row(trial, attempt=self.attempts[trial], state="failed")
        return row | none | {"epochs_done": 0, "test_loss": None, "test_accuracy": None}

    def _last(self, trial: int) -> Row:
        """The last epoch, in the attempt that reached it last."""
        self.writer.flush()
        rows = [row for row in self._epoch_rows() if (row["trial"], row["epoch"]) == (trial, self.epochs[trial])]
        return max(rows, key=lambda row: row["attempt"])

    def _epoch_rows(self) -> list[Row]:
        return load_epochs(self.paths.root, "digits", latest_attempt=False).to_pylist()

    def hint(self, trial: int) -> None:
        values = {"trial": trial, "attempt": self.attempts[trial], "state": "running", **config(trial)}
        self.loop.tell({trial: lambda experiment: experiment.hint(values, 1)})

    def flush(self, _: int) -> None:
        self.writer.flush()

    def compact(self, _: int) -> None:
        self.writer.flush()
        self.writer.compact(more_than=1)

    def resume(self, _: int = 0) -> None:
        """The driver's process dies, with what it had not written, and another one goes on."""
        self.writer = ResultsWriter(self.paths.folder)
        for trial in range(TRIALS):  # what was not written is trained again
            own = [row["epoch"] for row in self._epoch_rows() if row["trial"] == trial]
            if not self.ended[trial]:
                self.epochs[trial] = min(self.epochs[trial], max(own, default=0))
                self.attempts[trial] += bool(own)
        self.loop = Uploader(lambda: Experiment(self.store, "digits"), self.paths, name="flaky")

    def turn(self, faults: int) -> None:
        """`faults` as digits of base three: what becomes of the first requests."""
        self.store.faults = [(None, "before", "after")[faults // 3**place % 3] for place in range(8)]
        with suppress(ConnectionError):
            self.loop.turn()
        self.store.faults = []

    def drain(self) -> int:
        self.writer.flush()
        self.loop.tell({LAST: lambda experiment: experiment.conclude("finished", None)})
        for _ in range(200):
            if self.loop.turn() and self.loop.is_idle:
                return self.loop.missing()
        raise AssertionError("never done")


ACTS = st.one_of(
    st.tuples(st.sampled_from(["train", "train", "train", "lose", "end", "hint"]), st.integers(0, TRIALS - 1)),
    st.tuples(st.sampled_from(["flush", "flush", "compact", "resume"]), st.just(0)),
    st.tuples(st.just("turn"), st.one_of(st.just(0), st.integers(0, 3**8 - 1))),
)


@settings(max_examples=100)
@given(acts=st.lists(ACTS, max_size=40), most_rows=st.sampled_from([1, 3, 1000]))
def test_any_interleaving_ends_like_one_sync_from_the_start(acts: list[tuple[str, int]], most_rows: int) -> None:
    with pytest.MonkeyPatch.context() as patched, tempfile.TemporaryDirectory() as root:
        patched.setattr(uploader, "MOST_ROWS", most_rows)
        patched.setattr("sweeps.tracking.backlog.BLOCK", 2)
        sweep = Sweep(Path(root))
        for name, argument in acts:
            getattr(sweep, name)(argument)
        assert sweep.drain() == 0
        expected = MemoryStore()
        replay(Experiment(expected, "digits"), sweep.paths, Offset())
        found = content(sweep.store)
        for trial in found.keys() - content(expected).keys():
            assert not found.pop(trial)[0]  # a hint of a trial without rows
        assert found == content(expected)
        repaired = Experiment(sweep.store, "digits", is_live=False)
        replay(repaired, sweep.paths, Offset())
        assert repaired.removed == 0
        assert content(sweep.store) == content(expected) | {t: c for t, c in content(sweep.store).items() if not c[0]}


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    found = Sweep(tmp_path)
    for trial in (0, 1):
        for _ in range(EPOCHS):
            found.train(trial)
        found.end(trial)
        found.flush(0)
    assert found.drain() == 0
    return found


def test_the_next_session_reads_only_what_is_new(sweep: Sweep) -> None:
    before = sweep.store.requests
    sweep.resume()
    assert sweep.drain() == 0
    assert sweep.store.requests == before
    sweep.compact(0)
    sweep.train(2)
    assert sweep.drain() == 0
    assert sweep.store.requests == before + 2  # an epoch, and the offset
    assert sweep.store.deleted == []


def test_another_store_is_filled_from_the_start_and_the_first_one_goes_on_where_it_was(sweep: Sweep) -> None:
    first, sweep.store = sweep.store, Flaky()
    sweep.resume()
    assert sweep.drain() == 0
    assert content(sweep.store) == content(first)
    requests, sweep.store = first.requests, first
    sweep.resume()
    assert sweep.drain() == 0
    assert first.requests == requests


def test_a_store_that_lost_its_end_gets_it_again(sweep: Sweep) -> None:
    backup = copy.deepcopy(sweep.store)
    for _ in range(EPOCHS):
        sweep.train(2)
    sweep.end(2)
    sweep.compact(0)
    assert sweep.drain() == 0
    whole, sweep.store = content(sweep.store), backup
    sweep.resume()
    assert sweep.drain() == 0
    assert content(sweep.store) == whole


def test_files_that_were_lost_and_written_anew_under_the_same_numbers_are_read(sweep: Sweep, tmp_path: Path) -> None:
    shutil.copytree(sweep.paths.folder, tmp_path / "backup")
    sweep.train(2)
    assert sweep.drain() == 0
    ahead = Length(sweep.paths).end()
    shutil.rmtree(sweep.paths.folder)
    shutil.copytree(tmp_path / "backup", sweep.paths.folder)
    sweep.resume()
    sweep.epochs[2] = 0
    sweep.lose(2)
    sweep.train(2)
    assert sweep.drain() == 0
    assert Length(sweep.paths).end() == ahead
    (points, tags) = content(sweep.store)["2"]
    assert tags["attempt"] == str(sweep.attempts[2])
    assert ("val_loss", 1, float(sweep.attempts[2])) in points


def test_a_file_that_cannot_be_read_is_passed_over_until_the_next_session(sweep: Sweep) -> None:
    before = Experiment(sweep.store, "digits").offset
    for _ in range(2):
        sweep.train(2)
        sweep.flush(0)
    torn = max(sweep.paths.epochs.glob("part-*.parquet"))
    kept = torn.read_bytes()
    torn.write_bytes(kept[:20])
    sweep.train(2)
    assert sweep.drain() == 0
    assert Experiment(sweep.store, "digits").offset == before
    torn.write_bytes(kept)
    sweep.loop = Uploader(lambda: Experiment(sweep.store, "digits"), sweep.paths, name="flaky")
    sweep.end(2)
    assert sweep.drain() == 0
    assert [step for name, step, _ in content(sweep.store)["2"][0] if name == "val_loss"] == [1, 2, 3]
