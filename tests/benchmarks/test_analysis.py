"""The benchmark of the analysis writes its document, and made-up sweeps are whole."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import synthetic
from sweeps import results
from sweeps.display.status import status
from sweeps.stored import StoredSweep

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def test_quick_analysis_writes_the_document(tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / "analysis.py"), "--quick", "--json", str(tmp_path / "analysis.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "120"})
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "analysis.json").read_text())["rows"]
    cases = [row["case"].rpartition(",")[0] for row in rows]
    assert cases[:3] == ["sweeps pareto with its picture", "sweeps pareto", "sweeps pareto"]
    assert {"front", "importance, three targets", "comparison, 1000 resamples", "100 resamples"} < set(cases)
    assert all((row["peer"] is None) == ("peer_is" not in row) for row in rows)


@pytest.mark.parametrize("stopping", [True, False])
def test_a_made_up_sweep_is_as_a_driver_leaves_it(tmp_path: Path, *, stopping: bool) -> None:
    paths = synthetic.write(tmp_path, "made_up", trials=300, epochs=6, stopping=stopping)
    found = status(StoredSweep.at(paths))
    assert found["trials"]["asked"] == 300
    assert (found["trials"]["stopped"] > 0) == stopping
    assert found["trials"]["failed"] > 0
    trials = results.load(tmp_path, "made_up").to_pylist()
    epochs = results.load_epochs(tmp_path, "made_up").to_pylist()
    assert len(epochs) == sum(row["epochs_done"] for row in trials)
    last = {row["trial"]: row for row in epochs}  # sorted by epoch: the last one stays
    for row in trials:
        if row["state"] != "failed":
            assert last[row["trial"]]["val_accuracy"] == row["val_accuracy"]
            assert last[row["trial"]]["remaining"] == row["remaining"]
        assert 0 < row["remaining"] <= 1
        assert row["layers"][0]["name"] == "linear1"


def test_the_same_seed_writes_the_same_sweep(tmp_path: Path) -> None:
    for name in ("a", "b"):
        synthetic.write(tmp_path / name, "made_up", trials=50, seed=4)
    one, other = (results.load(tmp_path / name, "made_up") for name in ("a", "b"))
    columns = ["val_accuracy", "remaining", "pruning_rate", "state"]
    assert one.select(columns).equals(other.select(columns))
