"""The mirror against real stores in SQLite files; see test_tracking_server for servers."""

import logging
import math
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from supermask.config import RULES, TrainConfig
from sweeps import tracking
from sweeps.mirroring import mirrored
from sweeps.mirroring.experiment import EPOCH_METRICS, FINAL_METRICS
from sweeps.mirroring.mirror import Mirror
from sweeps.mirroring.mirrored import MirroredTrial
from sweeps.mirroring.notes import trial_note
from sweeps.results import epochs_table

# MLflow 3.17 with SQLAlchemy 2.1; the mirror would take the warning turned error for a broken store.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")

STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def root(tmp_path: Path, empty_store: Path) -> Path:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return tmp_path


def config(trial: int) -> dict[str, Any]:
    values = {"learning_rate": 0.1 + 0.2 + trial, "weight_decay": 1 / 3e4, "pruning_rate": 2 / 3, "seed": 2**62 + trial}
    return TrainConfig(epochs=3, **values).to_dict()


def start_row(trial: int, *, attempt: int = 1, **changed: Any) -> dict[str, Any]:
    return {"trial": trial, "attempt": attempt, "pack": 4, "lane": trial, "host": "h", **config(trial), **changed}


def epoch_row(trial: int, epoch: int, *, attempt: int = 1, **changed: Any) -> dict[str, Any]:
    values = {name: (trial + 1) / (7 * epoch + place) for place, name in enumerate(EPOCH_METRICS)}
    return {"trial": trial, "attempt": attempt, "epoch": epoch, "seconds": 0.1, **values, **changed}


def trial_row(trial: int, *, attempt: int = 1, epochs_done: int = 3, **changed: Any) -> dict[str, Any]:
    last = epoch_row(trial, epochs_done)
    row = {"trial": trial, "state": "finished", "reason": None, "attempt": attempt, "pack": 4, "lane": trial}
    row |= {**config(trial), "epochs_done": epochs_done, **{name: last[name] for name in EPOCH_METRICS}}
    row |= {"test_loss": math.pi, "test_accuracy": 1 / 7, "seconds": 1.1, "started": STARTED}
    row |= {"ended": STARTED + timedelta(seconds=9), "host": "h", "device": "cpu", "dtype": "float32", "commit": "abc"}
    return row | changed


def mirror(root: Path, *, uri: str | None = None) -> Mirror:
    return Mirror(uri or tracking.default_uri(root), "digits", root=root, interval_seconds=0.01)


def mirror_whole_trials(made: Mirror, trials: range) -> None:
    made.trials_started([start_row(trial) for trial in trials])
    for epoch in (1, 2, 3):
        made.epochs(epochs_table([epoch_row(trial, epoch) for trial in trials]))
    made.trials_ended([trial_row(trial) for trial in trials])


def read(root: Path, uri: str | None = None) -> list[MirroredTrial]:
    return mirrored.read(uri or tracking.default_uri(root), "digits", count_steps=True)


def client(root: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking.default_uri(root), tracking.default_uri(root))


def parents(root: Path) -> list[Any]:
    store = client(root)
    experiment = store.get_experiment_by_name("digits").experiment_id
    return list(store.search_runs([experiment], "tags.role = 'sweep'"))


def assert_equal(mirrored: MirroredTrial, row: dict[str, Any]) -> None:
    assert mirrored.state == row["state"]
    assert mirrored.attempt == row["attempt"]
    assert mirrored.metrics == {name: row[name] for name in FINAL_METRICS}
    assert set(mirrored.params) == set(RULES)
    for name, rule in RULES.items():
        assert rule.kind(mirrored.params[name]) == row[name]


def test_importing_this_package_does_not_import_mlflow() -> None:
    code = "import sweeps.tracking, sys; print([name for name in ('mlflow', 'torch', 'ray') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_the_mirror_equals_the_rows(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made = mirror(root)
    made.start_sweep({"trials": 3, "sampler": "tpe", "eta": 0.1}, {"commit": "abc", "host": "h"})
    mirror_whole_trials(made, range(3))
    made.finish("finished")
    assert made.close(60) == 0
    assert made.lag == 0
    assert made.rejected == {}
    trials = read(root)
    assert [trial.trial for trial in trials] == [0, 1, 2]
    for trial in trials:
        assert_equal(trial, trial_row(trial.trial))
        assert (trial.steps, trial.last_step) == (3, 3)

    (parent,) = parents(root)
    assert parent.info.run_name == "digits"
    assert parent.info.status == "FINISHED"
    assert parent.data.params == {"trials": "3", "sampler": "tpe", "eta": "0.1"}
    assert parent.data.tags["commit"] == "abc"

    run = client(root).get_run(trials[1].run_id)
    assert run.info.run_name == "trial-00001"
    assert run.info.status == "FINISHED"
    assert run.info.end_time - int(STARTED.timestamp() * 1000) == 9000
    expected = {"sweep": "digits", "role": "trial", "trial": "1", "attempt": "1", "pack": "4", "lane": "1"}
    expected |= {"seed": str(2**62 + 1), "commit": "abc", "mlflow.source.git.commit": "abc", "host": "h"}
    expected |= {"device": "cpu", "dtype": "float32", "state": "finished", "mlflow.runName": "trial-00001"}
    expected["mlflow.note.content"] = trial_note("digits", trial_row(1))
    assert run.data.tags == {**expected, "mlflow.parentRunId": parent.info.run_id}
    for metric in EPOCH_METRICS:
        history = client(root).get_metric_history(run.info.run_id, metric)
        assert [(point.step, point.value) for point in history] == [
            (epoch, epoch_row(1, epoch)[metric]) for epoch in (1, 2, 3)
        ]
    assert capfd.readouterr().err == ""


def test_a_second_session_goes_on_in_the_same_runs(root: Path) -> None:
    first = mirror(root)
    first.start_sweep({"trials": 2}, {})
    mirror_whole_trials(first, range(1))
    first.trials_started([start_row(1)])
    first.epochs(epochs_table([epoch_row(1, 1)]))
    first.trials_waiting([{"trial": 1, "attempt": 1}])
    first.finish("interrupted")
    assert first.close(60) == 0
    (_, waiting) = read(root)
    assert (waiting.state, waiting.steps) == ("waiting", 1)
    assert client(root).get_run(waiting.run_id).info.status == "SCHEDULED"
    assert parents(root)[0].info.status == "KILLED"

    second = mirror(root)
    second.start_sweep({"trials": 3}, {})
    second.trials_started([start_row(1), start_row(2)])
    second.epochs(epochs_table([epoch_row(1, 2), epoch_row(1, 3)]))
    second.trials_ended([trial_row(1)])
    assert second.close(60) == 0
    trials = read(root)
    assert [(trial.trial, trial.state, trial.steps) for trial in trials] == [
        (0, "finished", 3),
        (1, "finished", 3),
        (2, "running", 0),
    ]
    assert trials[1].run_id == waiting.run_id
    assert_equal(trials[1], trial_row(1))
    (parent,) = parents(root)
    assert parent.info.status == "RUNNING"
    assert parent.data.tags["trials"] == "3"


def test_a_trial_that_starts_again_has_one_run(root: Path) -> None:
    made = mirror(root)
    made.trials_started([start_row(0)])
    made.epochs(epochs_table([epoch_row(0, 1), epoch_row(0, 2, val_accuracy=0.9)]))
    made.trials_started([start_row(0, attempt=2)])
    made.epochs(epochs_table([epoch_row(0, 2, attempt=2), epoch_row(0, 3, attempt=2)]))
    made.trials_ended([trial_row(0, attempt=2)])
    assert made.close(60) == 0
    (trial,) = read(root)
    assert_equal(trial, trial_row(0, attempt=2))
    history = client(root).get_metric_history(trial.run_id, "val_accuracy")
    assert [point.value for point in history] == [epoch_row(0, epoch)["val_accuracy"] for epoch in (1, 2, 3)]


@pytest.mark.parametrize(("state", "status"), [("finished", "FINISHED"), ("stopped", "KILLED"), ("failed", "FAILED")])
def test_how_a_trial_ends(root: Path, state: str, status: str) -> None:
    made = mirror(root)
    made.trials_ended([trial_row(0, state=state, reason="why")])
    assert made.close(60) == 0
    (trial,) = read(root)
    assert trial.state == state
    run = client(root).get_run(trial.run_id)
    assert run.info.status == status
    assert run.data.tags["reason"] == "why"


def test_a_value_that_is_not_finite_is_named(root: Path) -> None:
    made = mirror(root)
    made.trials_started([start_row(0)])
    made.epochs(epochs_table([epoch_row(0, 1), epoch_row(0, 2, train_loss=math.nan, val_loss=math.inf)]))
    made.trials_ended([trial_row(0, epochs_done=2, state="failed", train_loss=math.nan, val_loss=math.inf)])
    assert made.close(60) == 0
    (trial,) = read(root)
    assert trial.non_finite == {"train_loss", "val_loss"}
    assert trial.metrics["train_loss"] == epoch_row(0, 1)["train_loss"]
    assert trial.metrics["val_accuracy"] == epoch_row(0, 2)["val_accuracy"]


def test_more_epochs_than_one_request_takes(root: Path) -> None:
    made = mirror(root)
    made.trials_started([start_row(0)])
    made.epochs(epochs_table([epoch_row(0, epoch) for epoch in range(1, 451)]))
    made.trials_ended([trial_row(0, epochs_done=450)])
    assert made.close(60) == 0
    (trial,) = read(root)
    assert (trial.steps, trial.last_step) == (450, 450)
    assert_equal(trial, trial_row(0, epochs_done=450))


def test_more_runs_than_one_page_holds(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "_PAGE", 2)
    made = mirror(root)
    made.trials_started([start_row(trial) for trial in range(7)])
    assert made.close(60) == 0
    assert [trial.trial for trial in read(root)] == list(range(7))


def test_what_mlflow_refuses_does_not_stop_the_rest(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = mirror(root)
    with caplog.at_level(logging.WARNING):
        made.start_sweep({"trials": 1}, {})
        made.start_sweep({"eta, or what?": 0.5}, {})
        made.start_sweep({"sampler": "tpe"}, {})
        mirror_whole_trials(made, range(1))
        made.finish("finished")
        assert made.close(60) == 1
    assert made.rejected.keys() == {"sweep"}
    assert "eta, or what?" in made.rejected["sweep"]
    assert len(caplog.messages) == 1
    (trial,) = read(root)
    assert_equal(trial, trial_row(0))
    (parent,) = parents(root)
    assert parent.info.status == "FINISHED"
    assert parent.data.params == {"trials": "1", "sampler": "tpe"}


def test_sync_rebuilds_and_repairs(root: Path) -> None:
    uri = tracking.default_uri(root)
    rows = [trial_row(trial) for trial in range(4)]
    epochs = {trial: [epoch_row(trial, epoch) for epoch in (1, 2, 3)] for trial in range(4)}

    def sync() -> int:
        return tracking.sync(uri, "digits", root=root, trials=rows, epochs=epochs)

    made = mirror(root)
    mirror_whole_trials(made, range(1))
    made.trials_started([start_row(1)])
    made.epochs(epochs_table([epoch_row(1, 1)]))
    assert made.close(60) == 0
    assert sync() == 3  # trial 1 lacks epochs, 2 and 3 are missing
    assert sync() == 0

    store = client(root)
    runs = {trial.trial: trial.run_id for trial in read(root)}
    store.log_metric(runs[0], "val_loss", 9.0, step=3)
    store.delete_run(runs[1])
    store.set_terminated(runs[2], "FAILED")
    twin = store.create_run(store.get_run(runs[3]).info.experiment_id, tags=store.get_run(runs[3]).data.tags)
    assert [trial.trial for trial in read(root)] == [0, 2, 3, 3]
    # The twin is removed or, being the newer one, kept and filled while the other goes.
    assert sync() >= 4
    assert sync() == 0
    trials = read(root)
    assert [trial.trial for trial in trials] == [0, 1, 2, 3]
    assert all(trial.steps == 3 for trial in trials)
    for trial in trials:
        assert_equal(trial, trial_row(trial.trial))
    assert {store.get_run(trial.run_id).info.status for trial in trials} == {"FINISHED"}
    assert twin.info.run_id not in {runs[trial] for trial in runs}
    assert parents(root)[0].info.status == "FINISHED"


def test_an_experiment_that_was_deleted_comes_back(root: Path) -> None:
    first = mirror(root)
    mirror_whole_trials(first, range(1))
    assert first.close(60) == 0
    store = client(root)
    store.delete_experiment(store.get_experiment_by_name("digits").experiment_id)
    assert read(root) == []
    second = mirror(root)
    mirror_whole_trials(second, range(1, 2))
    assert second.close(60) == 0
    assert [trial.trial for trial in read(root)] == [0, 1]


def test_reading_creates_nothing(tmp_path: Path) -> None:
    uri = tracking.default_uri(tmp_path)
    assert mirrored.read(uri, "digits") == []
    assert tracking.addresses(uri, "digits", port=5001) == {"MLflow": "http://127.0.0.1:5001"}
    assert list(tmp_path.iterdir()) == []


def test_where_things_are(root: Path) -> None:
    uri = tracking.default_uri(root)
    assert uri == f"sqlite:///{root}/mlflow.db"
    command = tracking.ui_command(uri, root=root, port=5005)
    assert command[:4] == [sys.executable, "-m", "mlflow", "ui"]
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "5005"
    assert command[command.index("--backend-store-uri") + 1] == uri
    assert command[command.index("--default-artifact-root") + 1] == f"file://{root}/mlflow-artifacts"
    made = mirror(root)
    made.start_sweep({}, {})
    assert made.close(60) == 0
    experiment = client(root).get_experiment_by_name("digits").experiment_id
    page = f"http://127.0.0.1:5005/#/experiments/{experiment}/runs"
    kind = "?workflowType=machine_learning"  # MLflow's part for training, not that for language models
    (parent,) = parents(root)
    assert tracking.addresses(uri, "digits", port=5005) == {
        "trials": f"{page}{kind}&viewStateShareKey=sweep",
        "front": f"{page}{kind}&viewStateShareKey=front",
        "report, files": f"{page}/{parent.info.run_id}{kind}",
    }
    assert tracking.addresses(uri, "no-such-sweep", port=5005) == {"MLflow": "http://127.0.0.1:5005"}


def test_confirmations_reach_the_store_and_sync_leaves_them(root: Path) -> None:
    uri, epochs = tracking.default_uri(root), {0: [epoch_row(0, epoch) for epoch in (1, 2, 3)]}
    made = mirror(root)
    mirror_whole_trials(made, range(1))
    made.trials_started([start_row(1)])
    made.finish("finished")
    assert made.close(60) == 0
    values = {"state": "finished", "remaining": 0.02, "ended": STARTED}
    rows = {trial: [values | {"seed_index": k, "test_accuracy": 0.9 + k / 100} for k in range(12)] for trial in (0, 1)}
    assert tracking.send_confirmations(uri, "digits", root=root, confirmations=rows) == (1, [1])
    assert tracking.send_confirmations(uri, "digits", root=root, confirmations=rows) == (0, [1])
    assert tracking.sync(uri, "digits", root=root, trials=[trial_row(0)], epochs=epochs) == 0
    first = read(root)[0]
    assert first.metrics["confirm/test_accuracy_mean"] == pytest.approx(0.955)
    assert first.metrics["confirm/remaining"] == 0.02
    assert (first.last_step, first.steps) == (3, 3)
    assert tracking.send_confirmations(uri, "no-such-sweep", root=root, confirmations=rows) == (0, [0, 1])


def test_files_of_a_mirror_in_any_database_lie_in_the_root_not_where_the_command_was_called(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "called").mkdir()
    monkeypatch.chdir(root / "called")
    other = root / "elsewhere.db"
    shutil.copy(root / "mlflow.db", other)
    assert tracking.sync(f"sqlite:///{other}", "digits", root=root, trials=[trial_row(0)], epochs={}) == 1
    experiment = tracking.connect(f"sqlite:///{other}").get_experiment_by_name("digits")
    assert experiment
    assert experiment.artifact_location == f"{(root / 'mlflow-artifacts').as_uri()}"
    assert list((root / "called").iterdir()) == []
