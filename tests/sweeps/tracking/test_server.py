"""The mirror against servers: one on loopback that is killed and started again, and addresses where nobody is."""

import logging
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from sweeps.errors import SweepError
from sweeps.store.paths import SweepPaths
from sweeps.tracking import mirrored, mlflow_store
from sweeps.tracking.identity import make_id
from tests.sweeps.mirrored_sweep import Driven, assert_equal, epoch_row, start_row, train, trial_row
from tests.sweeps.mlflow_server import free_port, server


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def port() -> int:
    return free_port()


def test_a_server_that_is_killed_and_started_again(tmp_path: Path, port: int) -> None:
    """Takes about 20 s: a real server is started twice, and rows are written before, between and after."""
    uri = f"http://127.0.0.1:{port}"
    made = Driven(tmp_path, uri)
    with server(tmp_path, port):
        made.start_sweep({"trials": 3}, {})
        train(made, range(1))
        made.trials_started([start_row(1)])
        made.epochs([epoch_row(1, 1)])
        wait_for(lambda: [run.steps for run in mirrored.read(uri, "digits", root=tmp_path, count_steps=True)] == [3, 1])
    train(made, range(2, 3))
    wait_for(lambda: made.lag == 4)
    with server(tmp_path, port):
        made.epochs([epoch_row(1, 2), epoch_row(1, 3)])
        made.ended([trial_row(1)])
        made.writer.compact(more_than=1)
        made.finish("finished")
        assert made.close(60) == 0
        trials = mirrored.read(uri, "digits", root=tmp_path, count_steps=True)
    assert made.rejected == {}
    assert [(trial.trial, trial.state, trial.steps) for trial in trials] == [(n, "finished", 3) for n in range(3)]
    for trial in trials:
        assert_equal(trial, trial_row(trial.trial))


def test_a_dead_server_costs_nothing_but_the_mirror(
    tmp_path: Path, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        made = Driven(tmp_path, f"http://me:secret@127.0.0.1:{port}")
        made.start_sweep({"trials": 1}, {})
        train(made, range(1))
        wait_for(lambda: bool(caplog.messages))
        wait_for(lambda: made.lag == 4)
        assert made.close(1.0) == 5  # three epochs, an end, and the sweep's own run
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"upload to MLflow at http://***@127.0.0.1:{port} failed: ")
    assert "secret" not in caplog.text


def test_a_store_that_does_not_answer_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    make_id(SweepPaths(tmp_path, "digits"))
    with pytest.raises(SweepError, match=r"^request to MLflow at http://\*\*\*@127\.0\.0\.1:1 failed: ") as raised:
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
        with (
            pytest.raises(SweepError, match=r"^request to MLflow at http://it failed: "),
            mlflow_store.answering("http://it"),
        ):
            mlflow_store.connect(f"http://127.0.0.1:{mute.server_port}").create_run("0")
        mute.shutdown()
    assert mute.asked == ["/api/2.0/mlflow/runs/create"]  # type: ignore[attr-defined]
