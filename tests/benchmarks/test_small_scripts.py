"""The short benchmarks write their documents."""

import json
import os
import subprocess
import sys
from pathlib import Path
from shutil import which
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
REQUIRED = {"case", "ours", "peer", "ratio", "n", "low", "high"}


def run(script: str, file: Path, images: Path) -> list[dict[str, Any]]:
    """The rows that `script --quick` writes."""
    command = [sys.executable, str(FOLDER / script), "--quick", "--json", str(file), "--data", str(images)]
    environment = os.environ | {"COLUMNS": "120"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(file.read_text())["rows"]
    assert all(row.keys() >= REQUIRED for row in rows)
    return rows


@pytest.mark.mnist
def test_quick_trajectory_writes_the_document(tmp_path: Path, shared_data: Path) -> None:
    rows = run("paper_trajectory.py", tmp_path / "trajectory.json", shared_data)
    assert [row["case"] for row in rows] == ["test_accuracy after epoch 1", "remaining after epoch 1"]
    for row in rows:
        # One epoch at full learning rate: within a tenth of what was reported.
        assert 0.9 < row["low"] <= row["ratio"] <= row["high"] < 1.1


@pytest.mark.mnist
def test_quick_artifact_size_writes_the_document(tmp_path: Path, shared_data: Path) -> None:
    rows = run("artifact_size.py", tmp_path / "size.json", shared_data)
    sizes = [row for row in rows if row["case"].startswith("FCN")]
    assert len(sizes) == 3
    assert all(row["ratio"] > 16 for row in sizes)  # two bits a weight or fewer
    exact = [row for row in rows if row["case"].endswith("float32 pack agree")]
    assert [row["ours"] for row in exact] == [1000, 1000]


def test_quick_driver_writes_the_document(tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / "driver.py"), "--quick", "--json", str(tmp_path / "driver.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "driver.json").read_text())["rows"]
    assert [row["case"].split(":")[0] for row in rows] == ["2 packs", "2 packs", "320 trials"]
    assert all(row.keys() >= REQUIRED for row in rows)
    assert all(0 < row["blocked_share"] < 1 for row in rows if "blocked_share" in row)


def test_quick_sampler_writes_the_document(tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / "sampler.py"), "--quick", "--json", str(tmp_path / "sampler.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *asking, quality = json.loads((tmp_path / "sampler.json").read_text())["rows"]
    assert [row["case"] for row in asking] == ["asking 64 after 100 trials", "asking 64 after 500 trials"]
    assert 0.9 < quality["ratio"] < 1.1  # being shown fewer trials costs next to nothing


@pytest.mark.skipif(not (which("chromium") or which("google-chrome")), reason="no Chromium: apt-get install chromium")
def test_quick_report_writes_the_document(tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / "report.py"), "--quick", "--json", str(tmp_path / "report.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "report.json").read_text())["rows"]
    assert [row["case"] for row in rows] == [
        "writing the report of 2000 trials",
        *("size of the page", "longest task on opening", "longest task on hover"),
    ]
    assert all(row.keys() >= REQUIRED for row in rows)
    assert all(row["ours"] > 0 for row in rows)
    assert rows[1]["ours"] < 5


def test_quick_checkpoints_writes_the_document_and_leaves_no_checkpoint(tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / "checkpoints.py"), "--quick", "--json", str(tmp_path / "checkpoints.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    row, share = json.loads((tmp_path / "checkpoints.json").read_text())["rows"]
    for found in (row, share):
        assert found.keys() >= REQUIRED
        assert found["checkpoints"] >= 1
        assert found["bytes_per_lane"] > 1000
    assert row["ratio"] > 0
    assert 0 < share["ours"] < 100
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints.json"]


def test_quick_start_writes_the_document(tmp_path: Path) -> None:
    file = tmp_path / "start.json"
    command = [sys.executable, str(FOLDER / "start.py"), "--quick", "--json", str(file)]
    done = subprocess.run(command, env=os.environ | {"COLUMNS": "120"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    steps = [row["ours"] for row in json.loads(file.read_text())["rows"] if row["case"].startswith("in this process: ")]
    assert steps == sorted(steps)
    assert len(steps) == 5


def test_quick_estimates_writes_the_document(tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / "estimates.py"), "--quick", "--json", str(tmp_path / "estimates.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "estimates.json").read_text())["rows"]
    assert all(row.keys() >= REQUIRED for row in rows)
    assert [row["case"].split(":")[0] for row in rows] == 3 * ["digits, front of estimates"] + 3 * [
        "digits, front of raw accuracies"
    ]
    assert all(0 <= row["ours"] <= 100 for row in rows if "interval" in row["case"])


def test_quick_networks_writes_the_document(tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / "networks.py"), "--quick", "--json", str(tmp_path / "networks.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "networks.json").read_text())["rows"]
    assert row.keys() >= REQUIRED
    assert 0 < row["ours"] < 100
    assert 1 <= row["kept"] <= 6
