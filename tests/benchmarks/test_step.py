import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import agreement, peers, script, step
from benchmarks.timing import sized
from benchmarks.workload import Workload
from supermask import data

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "benchmarks/step.py"
REQUIRED = {"case", "ours", "peer", "ratio", "n", "low", "high"}
EXTRA = {"unit", "lanes", "peer_name", "dtype", "images", "compile_seconds", "over_limit", "packs"}


@pytest.fixture(scope="module")
def toy() -> Workload:
    return Workload("fcn", 1.0, data.load("digits"))


def test_quick_writes_the_document(tmp_path: Path) -> None:
    file = tmp_path / "step.json"
    toy = ("--dataset", "digits", "--networks", "fcn", "--width", "0.1", "--lanes", "2", "--no-compile")
    environment = os.environ | {"COLUMNS": "120"}
    command = [sys.executable, str(SCRIPT), "--quick", "--json", str(file), *toy]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(file.read_text(encoding="utf-8"))
    assert list(document) == ["commit", "hardware", "versions", "rows"]
    assert set(document["versions"]) == {"python", "torch", "numpy"}
    assert {"cpu", "cores", "memory_gib", "gpu"} <= set(document["hardware"])
    cases = [row["case"] for row in document["rows"]]
    steps = [f"fcn, K=2, {peer}" for peer in ("eager", "dataloader", "vmap")]
    # A second row stands against processes side by side, where these are faster.
    more = [case for case in cases[4:] if case.startswith("fcn epoch, eager, processes: ")]
    assert cases == [*steps, "fcn epoch, one model", *more]
    assert len(more) <= 1
    for row in document["rows"]:
        check(row)
        assert row["case"] in done.stdout


def check(row: dict[str, Any]) -> None:
    assert set(row) >= REQUIRED
    assert set(row) - REQUIRED <= EXTRA
    assert row["n"] >= 5
    assert 0 < row["low"] <= row["ratio"] <= row["high"]
    assert row["ours"] > 0
    assert row["peer"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--networks", "fcn,conv3"), "conv3"),
        (("--lanes", "1,none"), "1,none"),
        (("--lanes", "0"), "whole numbers from 1 on"),
        (("--device", "tpu"), "tpu"),
        (("--repeats", "4"), "repeats"),
        (("--quick", "--dataset", "folder:nowhere"), "nowhere"),
    ],
)
def test_wrong_usage_is_one_message(
    arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [SCRIPT.name, *arguments])
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit) as ended:
        script.start(step.main)
    written = capsys.readouterr()
    assert ended.value.code == 2
    assert message in written.err
    assert "Traceback" not in written.err
    assert written.out == ""


@pytest.mark.parametrize("network", ["fcn", "conv2"])
def test_all_sides_compute_the_same(network: str, toy: Workload) -> None:
    assert agreement.check(Workload(network, 0.5, toy.images)) <= 1e-10


def test_a_peer_that_computes_something_else_is_refused(toy: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoDecay(peers.Sgdw):
        def __init__(self, parameters: Any, config: Any) -> None:
            super().__init__(parameters, config)
            self.config = type(config)(**config.to_dict() | {"weight_decay": 0.0})

    monkeypatch.setattr(peers, "Sgdw", NoDecay)
    with pytest.raises(SystemExit, match=r"agreement, fcn: the scores of the plain loop must equal the pack's"):
        agreement.check(toy)


def test_images_of_a_loader_that_differ_are_refused(toy: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "standardised", lambda image: image - image.mean())
    with pytest.raises(SystemExit, match="the DataLoader's images must equal the pack's"):
        agreement.check(toy)


def test_an_epoch_of_cut_images_has_the_given_number_of_steps(toy: Workload) -> None:
    for steps in (1, 2, 7, toy.most_steps):
        configs, images = toy.cut(steps, 2)
        loop = peers.PlainLoop(configs[0], images, device=torch.device("cpu"))
        assert len(loop.train_part) // 128 == steps


def test_a_contender_grows_until_it_takes_long_enough() -> None:
    sizes: list[int] = []
    closed: list[int] = []

    class Clock:
        lanes = 2

        def __init__(self, steps: int) -> None:
            self.count = steps
            sizes.append(steps)

        def steps(self) -> None:
            end = time.perf_counter() + 0.001 * self.count
            while time.perf_counter() < end:
                pass

        def close(self) -> None:
            closed.append(self.count)

    contender = sized("clock", Clock, most_steps=10, seconds=0.05)
    assert sizes[0] == 1
    assert sizes == sorted(set(sizes))
    assert contender.steps == sizes[-1] <= 10
    assert closed == sizes[:-1]
    contender.repeat()
    assert 0 < contender.rate <= 2 / 0.001  # two lanes, a millisecond a step at least
