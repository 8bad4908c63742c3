import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import paper_table
from benchmarks.paper_rows import ROWS, PaperRow
from benchmarks.paper_table import Store, choose, summary, train
from supermask import data
from supermask.config import NETWORKS, ConfigError
from supermask.pack import Pack

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks/paper_table.py"
TOY = PaperRow(
    "fcn", "signed", "digits", {"pruning_rate": 0.4, "epochs": 3, "batch_size": 64, "learning_rate": 0.1}, 0.9, 0.5,
    width=0.2,
)  # fmt: skip


def test_every_network_has_rows_and_every_configuration_is_legal() -> None:
    assert {row.network for row in ROWS} == set(NETWORKS)
    assert len({row.key for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert row.trial(7).seed == 7
    for network in ("fcn", "conv4"):
        assert {row.method for row in ROWS if row.network == network} == {
            "signed", "dense", "zhou", "edge_popup", "multi_prize",
        }  # fmt: skip


def test_rows_are_chosen_by_network_or_method() -> None:
    assert [row.key for row in choose("conv4:signed,resnet56")] == ["conv4:signed", "resnet56:signed", "resnet56:dense"]
    assert choose("all") == list(ROWS)
    with pytest.raises(Exception, match="but got 'fnc'"):
        choose("fnc")


def _train(store: Path, seeds: list[int]) -> Store:
    trials = [TOY.trial(seed) for seed in seeds]
    kept = Store(store, TOY, trials[0])
    missing = [trial for trial in trials if trial.seed not in kept.results]
    if missing:
        train(TOY, missing, kept, images=data.load("digits"), device=paper_table.torch.device("cpu"))
    return kept


def test_a_row_is_measured_on_the_test_set_and_kept(tmp_path: Path) -> None:
    kept = _train(tmp_path, [1, 2])
    found = summary(TOY, TOY.trial(0), list(kept.results.values()))
    assert found["case"] == "fcnx0.2:signed, digits"
    assert (found["n"], found["peer"], found["peer_remaining"], found["diverged"]) == (2, 0.9, 0.5, 0)
    pack = Pack([TOY.trial(seed) for seed in (1, 2)], data.load("digits"))
    for _ in range(3):
        pack.train_epoch()
    accuracies = [test.accuracy for test in pack.evaluate("test")]
    assert found["ours"] == pytest.approx(sum(accuracies) / 2)
    assert found["ratio"] == pytest.approx(found["ours"] / 0.9)
    assert found["low"] < found["ratio"] < found["high"]


def test_finished_seeds_are_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _train(tmp_path, [1, 2]).results
    trained: list[Any] = []
    monkeypatch.setattr(
        paper_table, "Pack", lambda configs, *rest, **more: trained.append(configs) or Pack(configs, *rest, **more)
    )
    again = _train(tmp_path, [1, 2, 3]).results
    assert [[config.seed for config in configs] for configs in trained] == [[3]]
    assert {seed: again[seed] for seed in (1, 2)} == first


def test_a_pack_goes_on_from_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _train(tmp_path / "whole", [1, 2]).results
    monkeypatch.setattr(paper_table, "CHECKPOINT_SECONDS", 0.0)
    epochs: list[int] = []

    class Cut(Pack):
        def train_epoch(self) -> Any:
            if len(epochs) == 2:
                raise KeyboardInterrupt
            epochs.append(self.epoch)
            return super().train_epoch()

    monkeypatch.setattr(paper_table, "Pack", Cut)
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "cut", [1, 2])
    monkeypatch.setattr(paper_table, "Pack", Pack)
    assert _train(tmp_path / "cut", [1, 2]).results == whole
    assert epochs == [0, 1]
    assert not list((tmp_path / "cut").glob("*.pt"))


def test_results_of_another_configuration_do_not_count(tmp_path: Path) -> None:
    _train(tmp_path, [1])
    other = PaperRow(**{**vars(TOY), "config": {**TOY.config, "learning_rate": 0.2}})
    assert Store(tmp_path, other, other.trial(1)).results == {}
    with pytest.raises(ConfigError):
        PaperRow("fcn", "dense", "digits", {"pruning_rate": 0.3}).trial(0)


@pytest.mark.mnist
def test_quick_writes_the_document(tmp_path: Path, shared_data: Path) -> None:
    file = tmp_path / "table.json"
    arguments = ["--quick", "--rows", "fcn:signed,fcn:edge_popup", "--seeds", "2", "--json", str(file)]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments, "--data", str(shared_data)],
        env=os.environ | {"COLUMNS": "120"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "fcn:edge_popup, mnist" in done.stdout
    document = json.loads(file.read_text())
    assert [row["case"] for row in document["rows"]] == ["fcn:signed, mnist", "fcn:edge_popup, mnist"]
    for row in document["rows"]:
        assert {"case", "ours", "peer", "ratio", "n", "low", "high"} <= row.keys()
        assert row["n"] == 2
        assert 0.1 < row["ours"] < 1
