"""The mirror against servers: one on loopback that is killed and started again, and addresses where nobody is."""

import logging
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from supermask.config import TrainConfig
from sweeps.errors import SweepError
from sweeps.results import epochs_table
from sweeps.store.paths import SweepPaths
from sweeps.tracking import mirrored, mlflow_store
from sweeps.tracking.experiment import EPOCH_METRICS, FINAL_METRICS
from sweeps.tracking.identity import make_id
from sweeps.tracking.mirror import Mirror
from tests.sweeps.mlflow_server import free_port, server


def epoch_row(trial: int, epoch: int) -> dict[str, Any]:
    metrics = {name: (trial + 1) / (7 * epoch + place) for place, name in enumerate(EPOCH_METRICS)}
    return {"trial": trial, "attempt": 1, "epoch": epoch, **metrics}


def trial_row(trial: int) -> dict[str, Any]:
    row = {"trial": trial, "attempt": 1, **TrainConfig(seed=trial).to_dict(), "epochs_done": 2, "state": "finished"}
    row |= {name: epoch_row(trial, 2)[name] for name in EPOCH_METRICS}
    return row | {"test_loss": 1 / 3, "test_accuracy": 2 / 3, "seconds": 0.1}


def start_row(trial: int) -> dict[str, Any]:
    return {"trial": trial, "attempt": 1, **TrainConfig(seed=trial).to_dict()}


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def port() -> int:
    return free_port()


def test_a_server_that_is_killed_and_started_again(tmp_path: Path, port: int) -> None:
    """Takes about 20 s: a real server is started twice, and rows are said before, between and after."""
    uri = f"http://127.0.0.1:{port}"
    (tmp_path / "digits").mkdir()
    made = Mirror(uri, "digits", root=tmp_path, interval_seconds=0.01)
    with server(tmp_path, port):
        made.start_sweep({"trials": 3}, {})
        made.trials_started([start_row(0), start_row(1)])
        made.epochs(epochs_table([epoch_row(0, 1), epoch_row(0, 2), epoch_row(1, 1)]))
        made.trials_ended([trial_row(0)])
        wait_for(lambda: made.lag == 0)
    made.trials_started([start_row(2)])
    made.epochs(epochs_table([epoch_row(2, 1), epoch_row(2, 2)]))
    made.trials_ended([trial_row(2)])
    time.sleep(1)
    assert made.lag == 4
    with server(tmp_path, port):
        made.epochs(epochs_table([epoch_row(1, 2)]))
        made.trials_ended([trial_row(1)])
        made.finish("finished")
        assert made.close(60) == 0
        trials = mirrored.read(uri, "digits", root=tmp_path, count_steps=True)
    assert made.rejected == {}
    assert [(trial.trial, trial.state, trial.steps) for trial in trials] == [(n, "finished", 2) for n in range(3)]
    for trial in trials:
        assert trial.metrics == {name: trial_row(trial.trial)[name] for name in FINAL_METRICS}
        assert float(trial.params["weight_gain"]) == TrainConfig().weight_gain


def test_a_dead_server_costs_nothing_but_the_mirror(
    tmp_path: Path, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "digits").mkdir()
    with caplog.at_level(logging.WARNING):
        made = Mirror(f"http://me:secret@127.0.0.1:{port}", "digits", root=tmp_path)
        made.start_sweep({"trials": 1}, {})
        made.trials_started([start_row(0)])
        made.epochs(epochs_table([epoch_row(0, 1), epoch_row(0, 2)]))
        made.trials_ended([trial_row(0)])
        assert made.lag == 5
        wait_for(lambda: bool(caplog.messages))
        assert made.close(1.0) == 5
    assert len(caplog.messages) == 1
    assert f"http://***@127.0.0.1:{port}: must take rows, but got: " in caplog.messages[0]
    assert "secret" not in caplog.text


def test_a_store_that_does_not_answer_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    make_id(SweepPaths(tmp_path, "digits"))
    with pytest.raises(
        SweepError, match=r"^MLflow store http://\*\*\*@127\.0\.0\.1:1: must answer, but got: "
    ) as raised:
        mirrored.read("http://me:secret@127.0.0.1:1", "digits", root=tmp_path)
    assert "secret" not in str(raised.value)
    assert str(raised.value).endswith("Check the address and try again.")
    assert raised.value.exit_code == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:secret@host:5000/x", "http://***@host:5000/x"),
        ("postgresql://me:s@cret@host/db", "postgresql://***@host/db"),
        ("postgresql://host/db?user=me&password=secret&x=1", "postgresql://host/db?user=me&password=***&x=1"),
        ("failed at http://a:b@c and http://d:e@f.", "failed at http://***@c and http://***@f."),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("http://host:5000", "http://host:5000"),
    ],
)
def test_redact(text: str, shown: str) -> None:
    assert mlflow_store.redact(text) == shown


class Mute(BaseHTTPRequestHandler):
    """Reads what it is sent and hangs up: whether it did what it was asked nobody knows."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.close_connection = True


def test_a_request_that_seems_to_fail_is_not_sent_again_by_itself() -> None:
    with HTTPServer(("127.0.0.1", 0), Mute) as mute:
        mute.asked = []  # type: ignore[attr-defined]
        Thread(target=mute.serve_forever, daemon=True).start()
        with pytest.raises(SweepError, match="must answer, but got: "), mlflow_store.answering("http://it"):
            mlflow_store.connect(f"http://127.0.0.1:{mute.server_port}").create_run("0")
        mute.shutdown()
    assert mute.asked == ["/api/2.0/mlflow/runs/create"]  # type: ignore[attr-defined]


def test_a_fingerprint_tells_stores_apart_and_knows_no_password() -> None:
    assert mlflow_store.fingerprint("http://host:5000") == mlflow_store.fingerprint("http://host:5000")
    assert mlflow_store.fingerprint("http://me:secret@host:5000") == mlflow_store.fingerprint(
        "http://me:other@host:5000"
    )
    stores = (None, "http://host:5000", "http://host:5001", "http://host:5000/team", "sqlite:////a/mlflow.db")
    assert len({mlflow_store.fingerprint(uri) for uri in stores}) == len(stores)
