"""The short benchmarks write their documents."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
REQUIRED = {"case", "ours", "peer", "ratio", "n", "low", "high"}


@pytest.mark.mnist
def test_quick_trajectory_writes_the_document(tmp_path: Path, shared_data: Path) -> None:
    file = tmp_path / "trajectory.json"
    done = subprocess.run(
        [sys.executable, str(FOLDER / "paper_trajectory.py"), "--quick", "--json", str(file), "--data", str(shared_data)],
        env=os.environ | {"COLUMNS": "120"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads(file.read_text())
    assert [row["case"] for row in document["rows"]] == ["test_accuracy after epoch 1", "remaining after epoch 1"]
    for row in document["rows"]:
        assert row.keys() >= REQUIRED
        # One epoch at full learning rate: within a tenth of what was reported.
        assert 0.9 < row["low"] <= row["ratio"] <= row["high"] < 1.1


@pytest.mark.mnist
def test_quick_artifact_size_writes_the_document(tmp_path: Path, shared_data: Path) -> None:
    file = tmp_path / "size.json"
    done = subprocess.run(
        [sys.executable, str(FOLDER / "artifact_size.py"), "--quick", "--json", str(file), "--data", str(shared_data)],
        env=os.environ | {"COLUMNS": "120"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(file.read_text())["rows"]
    assert rows
    for row in rows:
        assert row.keys() >= REQUIRED
