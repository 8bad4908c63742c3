"""Optuna's own page on a sweep's study: the real program, on loopback."""

import json
import math
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from search_spaces.space import SearchSpace
from sweeps.search.study import SweepStudy
from sweeps.store.paths import SweepPaths
from tests.sweeps.mlflow_server import free_port

PROGRAM = shutil.which("optuna-dashboard", path=str(Path(sys.executable).parent))
pytestmark = pytest.mark.skipif(PROGRAM is None, reason='no optuna-dashboard: pip install -e ".[dashboard]"')


@pytest.fixture
def address(
    tmp_path: Path, small_space: Callable[..., SearchSpace], ended_row: Callable[..., dict[str, Any]]
) -> Iterator[str]:
    """The page on a sweep of three trials, one of which failed."""
    paths = SweepPaths(tmp_path, "small")
    paths.folder.mkdir()
    study = SweepStudy(small_space(), paths.journal)
    rows = [ended_row(number, state) for number, state in enumerate(("finished", "finished", "failed"))]
    study.tell([row | study.ask().config.to_dict() for row in rows])
    port = free_port()
    command = [str(PROGRAM), str(paths.journal), "--port", str(port), "--server", "wsgiref"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def get(address: str) -> bytes:
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(address, timeout=30) as answer:  # noqa: S310 - loopback
                return answer.read()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_the_command_of_the_documentation_shows_the_study(address: str) -> None:
    assert "optuna-dashboard sweeps-out/fcn_digits/study.journal" in (
        (Path(__file__).parents[2] / "docs" / "mlflow.md").read_text()
    )
    assert b"<title>Optuna Dashboard</title>" in get(f"{address}/dashboard/")
    (study,) = json.loads(get(f"{address}/api/studies"))["study_summaries"]
    assert (study["study_name"], study["directions"]) == ("small", ["maximize", "minimize"])
    found = json.loads(get(f"{address}/api/studies/{study['study_id']}?after=0"))
    assert found["objective_names"] == ["val_accuracy", "remaining"]
    assert [(trial["number"], trial["state"]) for trial in found["trials"]] == [
        (0, "Complete"), (1, "Complete"), (2, "Fail"),
    ]  # fmt: skip
    assert found["trials"][0]["values"] == [0.9, pytest.approx(math.log10(0.5))]
    assert {parameter["name"] for parameter in found["trials"][0]["params"]} == {"pruning_rate", "learning_rate"}
