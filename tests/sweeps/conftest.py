"""Spaces, rows and a whole synthetic sweep for the tests of sweeps."""

import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from optuna.distributions import FloatDistribution

from search_spaces.space import Parameter, Sampler, SearchSpace
from supermask.config import TrainConfig
from sweeps import __main__ as command_line
from sweeps.results import ResultsWriter, Table, epochs_table, trials_table
from sweeps.store.lease import write_session
from sweeps.store.paths import SweepPaths
from sweeps.tracking import mlflow_store
from sweeps.tracking.identity import make_id
from sweeps.tracking.replay import sync
from sweeps.worker.checkpoints import Reached
from tests.sweeps.machine import STEP
from tests.sweeps.s3_server import BUCKET, environment, s3_server

if TYPE_CHECKING:
    from sweeps.worker.messages import PackOrder
    from sweeps.worker.services import WorkerSettings
    from tests.sweeps.books import Driver
    from tests.sweeps.orders import Start

Row = dict[str, Any]
STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
METRICS = ("train_loss", "val_loss", "val_accuracy", "estimate", "standard_error", "remaining", "inverted")
SPACE = SearchSpace(
    name="small",
    fixed={"network": "fcn", "dataset": "digits", "epochs": 2, "batch_size": 64, "validation_fraction": 0.2},
    parameters={
        "pruning_rate": Parameter(FloatDistribution(0.05, 0.95)),
        "learning_rate": Parameter(FloatDistribution(0.005, 1.0, log=True)),
    },
    objectives={"val_accuracy": "maximize", "remaining": "minimize"},
    trials=6,
    sampler=Sampler("random", 0),
)


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    with s3_server() as port:
        yield port


@pytest.fixture
def store_uri(s3_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty root in a real object store, with all that its clients need in the environment."""
    for name, value in environment(s3_port).items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{tmp_path.name}"


class RecordingMirror:
    """Stands for the MLflow mirror: keeps what it is given, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[Row]]] = []

    def trials_started(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._keep("started", rows)

    def trials_waiting(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._keep("waiting", rows)

    def parts_written(self) -> None:
        self._keep("parts", [])

    def mark_front(self, front: Mapping[int, Iterable[int]]) -> None:
        self._keep("front", ({"trial": trial, "epochs": epochs} for trial, epochs in front.items()))

    def numbers(self, kind: str) -> list[int]:
        """The trials of all calls of one kind."""
        return [row["trial"] for name, rows in self.calls if name == kind for row in rows]

    def _keep(self, kind: str, rows: Iterable[Mapping[str, Any]]) -> None:
        self.calls.append((kind, [dict(row) for row in rows]))


class States:
    """Stands for the way to the keeper of states."""

    def __init__(self) -> None:
        self.kept: dict[int, Reached] = {}
        self.forgotten: list[int] = []
        self.preempted: set[int] = set()
        self.ending = False
        self.settled = 0

    def reached(self, trials: Iterable[int]) -> dict[int, Reached]:
        return {trial: self.kept[trial] for trial in trials if trial in self.kept}

    def settle(self) -> None:
        self.settled += 1

    def forget(self, trials: Iterable[int]) -> None:
        self.forgotten += trials

    def preempt(self, packs: Iterable[int], *, ending: bool) -> None:
        self.preempted |= set(packs)
        self.ending = ending


def ended_row(trial: int, state: str = "finished", **changes: Any) -> Row:
    """A complete row of an ended trial."""
    row: Row = {"trial": trial, "state": state, "reason": None, "attempt": 1, "pack": 0, "lane": trial}
    row |= TrainConfig(dataset="digits", epochs=2, batch_size=64, seed=trial).to_dict()
    row |= {"epochs_done": 2, "val_accuracy": 0.9 - trial / 100, "remaining": 0.5 / (1 + trial), "inverted": 0.1}
    row |= {"train_loss": 0.3, "val_loss": 0.4, "test_loss": 0.45, "test_accuracy": 0.88}
    row |= {"started": STARTED, "ended": STARTED + timedelta(seconds=trial), "seconds": 1.5}
    row |= {"host": "here", "device": "cpu", "dtype": "float32", "commit": "abc"}
    if state == "failed":
        row |= {"reason": "diverged: train_loss is nan after epoch 1", "test_loss": None, "test_accuracy": None}
    row |= changes
    row = {"estimate": row["val_accuracy"], "standard_error": 0.01} | row
    best = {"best_epoch": row["epochs_done"] or None, "best_estimate": row["estimate"]}
    return best | {"best_standard_error": row["standard_error"], "best_remaining": row["remaining"]} | row


def network_table(rows: Iterable[Row]) -> Table:
    """The last networks of ended trials with what is known of these, see `sweeps.networks.with_trials`."""
    trials = trials_table(rows)
    return trials.append_column("epoch", trials.column("epochs_done")).drop_columns(["state"])


def epoch_rows(row: Row) -> list[Row]:
    """The rows of all epochs of an ended trial."""
    metrics = {name: row[name] for name in METRICS}
    identity = {"trial": row["trial"], "attempt": row["attempt"]}
    found = [identity | {"epoch": epoch, **metrics, "seconds": 0.5} for epoch in range(1, row["epochs_done"] + 1)]
    for epoch in found:
        epoch["ended"] = row["started"] + (row["ended"] - row["started"]) * epoch["epoch"] / len(found)
        epoch["layers"] = row.get("layers")
    if found and row["state"] == "finished":
        found[-1] |= {name: row[name] for name in ("test_loss", "test_accuracy")}
    return found


def last_networks(rows: Iterable[Row]) -> Table:
    """The last network of each of these trials, as `sweeps.networks.load` has it."""
    return epochs_table(epoch_rows(row)[-1] for row in rows).drop_columns(["layers"])


@pytest.fixture
def small_space() -> Callable[..., SearchSpace]:
    """A space of two parameters on the digits, with some of its attributes changed."""

    def build(**changes: Any) -> SearchSpace:
        return replace(SPACE, **changes)

    return build


@pytest.fixture
def mirror() -> RecordingMirror:
    return RecordingMirror()


@pytest.fixture
def states() -> States:
    return States()


@pytest.fixture(name="ended_row", scope="session")
def ended_row_fixture() -> Callable[..., Row]:
    return ended_row


@pytest.fixture(name="epoch_rows", scope="session")
def epoch_rows_fixture() -> Callable[[Row], list[Row]]:
    return epoch_rows


@pytest.fixture(scope="session")
def write_sweep() -> Callable[..., SweepPaths]:
    """Writes a sweep as a driver leaves it, without training: space, id, Parquet and session file."""

    def write(
        root: Path, rows: Iterable[Row], *, state: str = "finished", asked: int | None = None, **changes: Any
    ) -> SweepPaths:
        rows = list(rows)
        space = replace(SPACE, **changes)
        paths = SweepPaths(root, space.name)
        writer = ResultsWriter(paths.folder)
        writer.add_trials(trials_table(rows))
        writer.add_epochs(epochs_table(epoch for row in rows for epoch in epoch_rows(row)))
        writer.flush()
        paths.space.write_text(space.to_yaml())
        make_id(paths)
        counts = {"asked": len(rows) if asked is None else asked, "running": 0}
        document = {"name": space.name, "state": state, "host": "elsewhere", "pid": 1, "seconds": 12.5}
        write_session(paths, document | {"updated": STARTED.isoformat(), "trials": counts})
        return paths

    return write


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with all of MLflow's tables, made once: that takes seconds."""
    root = tmp_path_factory.mktemp("store")
    (root / "warm-up").mkdir()
    assert sync(mlflow_store.default_uri(root), "warm-up", root=root) == 0
    return root / "mlflow.db"


@pytest.fixture
def root(tmp_path: Path, empty_store: Path) -> Path:
    """A folder for sweeps whose MLflow has no runs yet."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return tmp_path


class Done(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


@dataclass
class Shell:
    """Runs commands in this process, in an empty folder of their own."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    steps: list[str] = field(default_factory=list)

    def __call__(self, *arguments: str) -> Done:
        self.monkeypatch.setattr(sys, "argv", ["sweeps", *arguments])
        with pytest.raises(SystemExit) as raised:
            command_line.main()
        code = raised.value.code
        assert isinstance(code, int)
        written = self.capsys.readouterr()
        # The steps that a start says come before its one message.
        self.steps, err = [*STEP.findall(written.err)], STEP.sub("", written.err)
        return Done(code, written.out, err)

    def files(self) -> list[str]:
        """All that lies in the folder."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*"))


@pytest.fixture
def sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    """The command line."""
    for name in ("SWEEPS_ROOT", "SUPERMASK_DATA"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    before = signal.getsignal(signal.SIGTERM)
    yield Shell(tmp_path / "work", monkeypatch, capsys)
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def driver(tmp_path: Path, small_space: Callable[..., SearchSpace], mirror: Any, states: Any) -> "Iterator[Driver]":
    """A session whose packs are trained by hand."""
    from tests.sweeps.books import Driver

    paths = SweepPaths(tmp_path, "small")
    found = Driver(paths, small_space(), mirror, states)
    yield found
    found.recorder.stop()


@pytest.fixture(scope="module")
def datasets() -> dict[str, Row]:
    """What workers train on."""
    from supermask import data

    return {"digits": data.load("digits").to_arrays()}


@pytest.fixture
def start(datasets: dict[str, Row]) -> "Start":
    """Gives a pack to a new worker."""
    from sweeps.worker.pack_worker import PackWorker
    from tests.sweeps.orders import SETTINGS

    def begin(order: "PackOrder", settings: "WorkerSettings" = SETTINGS) -> PackWorker:
        worker = PackWorker(datasets, settings)
        worker.take(order)
        return worker

    return begin
