"""Reading a real store in an SQLite file, making it equal again, and where it is shown."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.tracking import mirrored, mlflow_store
from sweeps.tracking.replay import sync
from tests.sweeps.mirrored_sweep import (
    STARTED,
    Driven,
    assert_equal,
    client,
    epoch_row,
    parents,
    read,
    start_row,
    train,
    trial_row,
    write,
)


def test_importing_this_package_does_not_import_mlflow() -> None:
    heavy = "[name for name in ('mlflow', 'torch', 'ray') if name in sys.modules]"
    code = f"import sweeps.tracking.mlflow_store, sys; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_more_runs_than_one_page_holds(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_store, "_PAGE", 2)
    made = Driven(root)
    made.trials_started([start_row(trial) for trial in range(7)])
    assert made.close(60) == 0
    assert [trial.trial for trial in read(root)] == list(range(7))


def test_sync_rebuilds_and_repairs(root: Path) -> None:
    uri = mlflow_store.default_uri(root)
    made = Driven(root)
    train(made, range(1))
    made.trials_started([start_row(1)])
    made.epochs([epoch_row(1, 1)])
    assert made.close(60) == 0
    write(root, [trial_row(trial) for trial in range(1, 4)])
    assert sync(uri, "digits", root=root) == 3  # trial 1 lacks epochs, 2 and 3 are missing
    assert sync(uri, "digits", root=root) == 0

    store = client(root)
    runs = {trial.trial: trial.run_id for trial in read(root)}
    store.log_metric(runs[0], "val_loss", 9.0, step=3)
    store.delete_run(runs[1])
    store.set_terminated(runs[2], "FAILED")
    twin = store.create_run(store.get_run(runs[3]).info.experiment_id, tags=store.get_run(runs[3]).data.tags)
    assert [trial.trial for trial in read(root)] == [0, 2, 3, 3]
    assert (
        sync(uri, "digits", root=root) == 4
    )  # 0 and 1 get new runs, 2 its status, and the twin of 3, which is empty, goes
    assert sync(uri, "digits", root=root) == 0
    trials = read(root)
    assert [trial.trial for trial in trials] == [0, 1, 2, 3]
    assert all(trial.steps == 3 for trial in trials)
    for trial in trials:
        assert_equal(trial, trial_row(trial.trial))
    assert {store.get_run(trial.run_id).info.status for trial in trials} == {"FINISHED"}
    assert twin.info.run_id not in {runs[trial] for trial in runs}
    assert parents(root)[0].info.status == "FINISHED"


def test_reading_creates_nothing(tmp_path: Path) -> None:
    uri = mlflow_store.default_uri(tmp_path)
    assert mirrored.read(uri, "digits", root=tmp_path) == []
    assert mlflow_store.addresses(uri, "digits", root=tmp_path, port=5001) == {"MLflow": "http://127.0.0.1:5001"}
    assert list(tmp_path.iterdir()) == []


def test_where_things_are(root: Path) -> None:
    uri = mlflow_store.default_uri(root)
    assert uri == f"sqlite:///{root}/mlflow.db"
    command = mlflow_store.ui_command(uri, root=root, port=5005)
    assert command[:4] == [sys.executable, "-m", "mlflow", "ui"]
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "5005"
    assert command[command.index("--backend-store-uri") + 1] == uri
    assert command[command.index("--default-artifact-root") + 1] == f"file://{root}/mlflow-artifacts"
    made = Driven(root)
    made.start_sweep({}, {})
    assert made.close(60) == 0
    experiment = client(root).get_experiment_by_name("digits").experiment_id
    page = f"http://127.0.0.1:5005/#/experiments/{experiment}/runs"
    kind = "?workflowType=machine_learning"  # MLflow's part for training, not that for language models
    (parent,) = parents(root)
    own = parent.data.tags["sweep_id"]
    assert mlflow_store.addresses(uri, "digits", root=root, port=5005) == {
        "trials": f"{page}{kind}&viewStateShareKey=sweep-{own}",
        "front": f"{page}{kind}&viewStateShareKey=front-{own}",
        "report, files": f"{page}/{parent.info.run_id}{kind}",
    }
    assert mlflow_store.addresses(uri, "no-such-sweep", root=root, port=5005) == {"MLflow": "http://127.0.0.1:5005"}


def test_confirmations_reach_the_store_and_sync_leaves_them(root: Path) -> None:
    uri = mlflow_store.default_uri(root)
    made = Driven(root)
    train(made, range(1))
    made.trials_started([start_row(1)])
    made.finish("finished")
    assert made.close(60) == 0
    values = {"state": "finished", "remaining": 0.02, "ended": STARTED}
    seeds = [values | {"seed_index": k, "test_accuracy": 0.9 + k / 100} for k in range(12)]
    rows = {(0, 2): seeds, (0, 3): seeds[:4], (1, 1): seeds}
    assert mlflow_store.send_confirmations(uri, "digits", root=root, confirmations=rows) == (1, ["1@1"])
    assert mlflow_store.send_confirmations(uri, "digits", root=root, confirmations=rows) == (0, ["1@1"])
    assert sync(uri, "digits", root=root) == 0
    first = read(root)[0]
    assert first.metrics["confirm/2/test_accuracy_mean"] == pytest.approx(0.955)
    assert first.metrics["confirm/3/test_accuracy_mean"] == pytest.approx(0.915)
    assert first.metrics["confirm/2/remaining"] == 0.02
    assert first.tags["confirmed"] == "2,3"
    assert (first.last_step, first.steps) == (3, 3)
    assert mlflow_store.send_confirmations(uri, "no-such-sweep", root=root, confirmations=rows) == (
        0,
        ["0@2", "0@3", "1@1"],
    )


def test_files_of_a_mirror_in_any_database_lie_in_the_root_not_where_the_command_was_called(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "called").mkdir()
    (root / "digits").mkdir()
    monkeypatch.chdir(root / "called")
    other = root / "elsewhere.db"
    shutil.copy(root / "mlflow.db", other)
    write(root, [trial_row(0)])
    assert sync(f"sqlite:///{other}", "digits", root=root) == 1
    experiment = mlflow_store.connect(f"sqlite:///{other}").get_experiment_by_name("digits")
    assert experiment
    assert experiment.artifact_location == f"{(root / 'mlflow-artifacts').as_uri()}"
    assert list((root / "called").iterdir()) == []
