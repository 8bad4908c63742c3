"""What sessions tell a mirror is in a real store, an SQLite file; see test_tracking_server for servers."""

import logging
import math
from datetime import timedelta
from pathlib import Path

import pytest

from sweeps.tracking.notes import trial_note
from sweeps.tracking.trajectory import EPOCH_METRICS
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
)


def test_the_mirror_equals_the_rows(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made = Driven(root)
    made.start_sweep({"trials": 3, "sampler": "tpe", "eta": 0.1}, {"commit": "abc", "host": "h"})
    train(made, range(3))
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
    expected["sweep_id"] = (root / "digits" / "sweep.id").read_text().strip()
    assert run.data.tags == {**expected, "mlflow.parentRunId": parent.info.run_id}
    for metric in EPOCH_METRICS:
        history = client(root).get_metric_history(run.info.run_id, metric)
        assert [(point.step, point.value) for point in history] == [
            (epoch, epoch_row(1, epoch)[metric]) for epoch in (1, 2, 3)
        ]
    assert capfd.readouterr().err == ""


def test_a_second_session_goes_on_in_the_same_runs(root: Path) -> None:
    first = Driven(root)
    first.start_sweep({"trials": 2}, {})
    train(first, range(1))
    first.trials_started([start_row(1)])
    first.epochs([epoch_row(1, 1)])
    first.trials_waiting([{"trial": 1, "attempt": 1}])
    first.finish("interrupted")
    assert first.close(60) == 0
    (_, waiting) = read(root)
    assert (waiting.state, waiting.steps) == ("waiting", 1)
    assert client(root).get_run(waiting.run_id).info.status == "SCHEDULED"
    assert parents(root)[0].info.status == "KILLED"

    second = Driven(root)
    second.start_sweep({"trials": 3}, {})
    second.trials_started([start_row(1), start_row(2)])
    second.epochs([epoch_row(1, 2), epoch_row(1, 3)])
    second.ended([trial_row(1)])
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


def test_rows_of_trials_that_have_begun_are_no_news_and_no_lag(root: Path) -> None:
    made = Driven(root)
    made.ended([trial_row(trial, state="running", ended=None) for trial in range(2)])
    made.epochs([epoch_row(0, 1)])
    assert made.close(60) == 0
    assert (made.lag, made.rejected) == (0, {})
    assert [(trial.trial, trial.steps, trial.tags.get("host")) for trial in read(root)] == [(0, 1, None)]


def test_each_epoch_is_stamped_with_its_own_time(root: Path) -> None:
    made = Driven(root)
    made.epochs([epoch_row(0, epoch, ended=STARTED + timedelta(seconds=epoch)) for epoch in (1, 2)])
    made.epochs([epoch_row(0, 3)])
    made.ended([trial_row(0)])
    assert made.close(60) == 0
    (trial,) = read(root)
    points = client(root).get_metric_history(trial.run_id, "estimate")
    begun = int(STARTED.timestamp() * 1000)
    assert [(point.step, point.timestamp - begun) for point in points][:2] == [(1, 1000), (2, 2000)]
    assert [point.value for point in points] == [epoch_row(0, epoch)["estimate"] for epoch in (1, 2, 3)]


def test_a_trial_that_starts_again_has_one_run(root: Path) -> None:
    made = Driven(root)
    made.trials_started([start_row(0)])
    made.epochs([epoch_row(0, 1), epoch_row(0, 2, val_accuracy=0.9)])
    made.trials_started([start_row(0, attempt=2)])
    made.epochs([epoch_row(0, 2, attempt=2), epoch_row(0, 3, attempt=2)])
    made.ended([trial_row(0, attempt=2)])
    assert made.close(60) == 0
    (trial,) = read(root)
    assert_equal(trial, trial_row(0, attempt=2))
    history = client(root).get_metric_history(trial.run_id, "val_accuracy")
    assert [point.value for point in history] == [epoch_row(0, epoch)["val_accuracy"] for epoch in (1, 2, 3)]


@pytest.mark.parametrize(("state", "status"), [("finished", "FINISHED"), ("stopped", "KILLED"), ("failed", "FAILED")])
def test_how_a_trial_ends(root: Path, state: str, status: str) -> None:
    made = Driven(root)
    made.ended([trial_row(0, state=state, reason="why")])
    assert made.close(60) == 0
    (trial,) = read(root)
    assert trial.state == state
    run = client(root).get_run(trial.run_id)
    assert run.info.status == status
    assert run.data.tags["reason"] == "why"


def test_a_value_that_is_not_finite_is_named(root: Path) -> None:
    made = Driven(root)
    made.trials_started([start_row(0)])
    made.epochs([epoch_row(0, 1), epoch_row(0, 2, train_loss=math.nan, val_loss=math.inf)])
    made.ended([trial_row(0, epochs_done=2, state="failed", train_loss=math.nan, val_loss=math.inf)])
    assert made.close(60) == 0
    (trial,) = read(root)
    assert trial.non_finite == {"train_loss", "val_loss"}
    assert trial.metrics["train_loss"] == epoch_row(0, 1)["train_loss"]
    assert trial.metrics["val_accuracy"] == epoch_row(0, 2)["val_accuracy"]


def test_more_epochs_than_one_request_takes(root: Path) -> None:
    made = Driven(root)
    made.trials_started([start_row(0)])
    made.epochs([epoch_row(0, epoch) for epoch in range(1, 451)])
    made.ended([trial_row(0, epochs_done=450)])
    assert made.close(60) == 0
    (trial,) = read(root)
    assert (trial.steps, trial.last_step) == (450, 450)
    assert_equal(trial, trial_row(0, epochs_done=450))


def test_what_mlflow_refuses_does_not_stop_the_rest(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = Driven(root)
    with caplog.at_level(logging.WARNING):
        made.start_sweep({"eta, or what?": 0.5}, {})
        train(made, range(1))
        made.finish("finished")
        assert made.close(60) == 1
    assert made.rejected.keys() == {"parameters"}
    assert "eta, or what?" in made.rejected["parameters"]
    assert len(caplog.messages) == 1
    (trial,) = read(root)
    assert_equal(trial, trial_row(0))
    (parent,) = parents(root)
    assert parent.info.status == "FINISHED"
    assert parent.data.params == {}


def test_an_experiment_that_was_deleted_comes_back(root: Path) -> None:
    first = Driven(root)
    train(first, range(1))
    assert first.close(60) == 0
    store = client(root)
    store.delete_experiment(store.get_experiment_by_name("digits").experiment_id)
    assert read(root) == []
    second = Driven(root)
    train(second, range(1, 2))
    assert second.close(60) == 0
    assert [trial.trial for trial in read(root)] == [0, 1]
