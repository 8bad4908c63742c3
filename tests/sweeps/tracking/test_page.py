"""`sweeps ui` as a user starts and stops it."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeps.store.paths import SweepPaths
from sweeps.tracking import mlflow_store
from sweeps.tracking.replay import sync
from tests.sweeps.machine import Machine
from tests.sweeps.mlflow_server import answers, free_port


def test_the_page_says_where_it_is_and_ends_quietly_with_all_its_processes(
    tmp_path: Path, ended_row: Callable[..., dict[str, Any]], write_sweep: Callable[..., SweepPaths]
) -> None:
    paths = write_sweep(tmp_path, [ended_row(0)])
    sync(mlflow_store.default_uri(tmp_path), paths.name, root=tmp_path)
    machine, port = Machine(tmp_path), free_port()
    with_jobs = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "true"}  # MLflow's own default, with its most processes
    page = machine.begin("ui", paths.name, "--port", str(port), **with_jobs)
    assert page.stdout
    places = [page.stdout.readline().split()[-1] for _ in range(3)]  # said when it answers
    assert answers(port)
    os.killpg(page.pid, signal.SIGINT)
    done = machine.end(page)
    assert (done.code, done.out) == (130, "")
    assert done.err == "starting MLflow's page, about 10 s; stop it with Ctrl-C\n"
    assert all(place.startswith(f"http://127.0.0.1:{port}/#/experiments/") for place in places)
    machine.clear()


def test_a_page_that_ends_by_itself_says_why(
    tmp_path: Path, sweeps: Any, write_sweep: Callable[..., SweepPaths], ended_row: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_sweep(tmp_path, [ended_row(0)])
    sync(mlflow_store.default_uri(tmp_path), paths.name, root=tmp_path)
    broken = ["bash", "-c", "echo starting; echo no room >&2; exit 3"]
    monkeypatch.setattr(mlflow_store, "ui_command", lambda *_, **__: broken)
    done = sweeps("ui", paths.name, "--root", str(tmp_path), "--port", str(free_port()))
    assert done.code == 1
    assert done.err.endswith("`mlflow ui` exited with code 3 and said: no room.\n")
