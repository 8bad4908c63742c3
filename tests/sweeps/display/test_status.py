import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from search_spaces.space import SearchSpace
from sweeps import pareto
from sweeps.display.status import status, table
from sweeps.errors import SweepError
from sweeps.store.paths import SweepPaths
from sweeps.stored import StoredSweep
from tests.sweeps.heartbeats import beat

EndedRow = Callable[..., dict[str, Any]]
WriteSweep = Callable[..., SweepPaths]


def test_a_finished_sweep(tmp_path: Path, ended_row: EndedRow, write_sweep: WriteSweep) -> None:
    rows = [ended_row(0, val_accuracy=0.5, remaining=0.5), ended_row(1, "failed"), ended_row(2, "stopped")]
    paths = write_sweep(tmp_path, rows)
    networks = StoredSweep.at(paths).networks()
    assert networks.num_rows == 6  # those of stopped and of failed trials count
    volume = pareto.hypervolume(networks, {"val_accuracy": "maximize", "remaining": "minimize"})
    assert volume > 0.1
    assert status(StoredSweep.at(paths)) == {
        "name": "small",
        "state": "finished",
        "trials": {"asked": 3, "finished": 1, "stopped": 1, "failed": 1, "running": 0, "waiting": 0},
        "hypervolume": pytest.approx(volume),
        "seconds": 12.5,
    }


@pytest.mark.parametrize(
    ("state", "running", "waiting"), [("running", 4, 3), ("interrupted", 0, 7), ("failed", 0, 7), ("finished", 0, 7)]
)
def test_what_was_asked_and_has_not_ended_runs_or_waits(
    tmp_path: Path, ended_row: EndedRow, write_sweep: WriteSweep, *, state: str, running: int, waiting: int
) -> None:
    paths = write_sweep(tmp_path, [ended_row(trial) for trial in range(3)])
    beat(paths, state, asked=10, running=4)
    found = status(StoredSweep.at(paths))
    assert found["state"] == state
    assert found["trials"] == {
        "asked": 10, "finished": 3, "stopped": 0, "failed": 0, "running": running, "waiting": waiting,
    }  # fmt: skip
    assert found["seconds"] == 61.5


def test_the_counts_add_up_when_parquet_is_ahead_of_the_session_file(
    tmp_path: Path, ended_row: EndedRow, write_sweep: WriteSweep
) -> None:
    paths = write_sweep(tmp_path, [ended_row(trial) for trial in range(5)])
    beat(paths, "running", asked=4, running=4)
    counts = status(StoredSweep.at(paths))["trials"]
    assert (counts["asked"], counts["finished"], counts["waiting"]) == (5, 5, 0)
    assert counts["running"] == 0


def test_a_sweep_before_its_first_session(tmp_path: Path, write_sweep: WriteSweep) -> None:
    paths = write_sweep(tmp_path, [])
    paths.session.unlink()
    assert status(StoredSweep.at(paths)) == {
        "name": "small",
        "state": "new",
        "trials": dict.fromkeys(("asked", "finished", "stopped", "failed", "running", "waiting"), 0),
        "hypervolume": 0.0,
        "seconds": 0.0,
    }


def test_a_sweep_that_does_not_exist(tmp_path: Path, small_space: Callable[..., SearchSpace]) -> None:
    with pytest.raises(SweepError, match="sweep nothing: must exist under"):
        status(StoredSweep(SweepPaths(tmp_path, "nothing"), small_space()))


def test_the_table_has_a_line_per_sweep(tmp_path: Path, ended_row: EndedRow, write_sweep: WriteSweep) -> None:
    names = ("first", "second")
    rows = [status(StoredSweep.at(write_sweep(tmp_path, [ended_row(0)], name=name))) for name in names]
    console = Console(width=120, color_system=None)
    with console.capture() as capture:
        console.print(table(rows, [1, 20]))
    volume = f"{0.8 / 0.9 * math.log10(2) / 3:.4f}"
    lines = [" ".join(line.split()) for line in capture.get().splitlines()]
    # state, budget, asked, finished, stopped, failed, running, waiting, hypervolume, time
    assert f"first finished 1 1 1 0 0 0 0 {volume} 12 s" in lines
    assert f"second finished 20 1 1 0 0 0 0 {volume} 12 s" in lines
