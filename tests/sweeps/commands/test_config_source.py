"""What `sweeps train` is told to train, and what it answers when it cannot."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.errors import SpaceError
from supermask.config import ConfigError, TrainConfig
from sweeps.commands.config_source import find, of_file, to_yaml
from sweeps.errors import SweepError


def file(folder: Path, text: str) -> Path:
    path = folder / "net.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_holds_fields_and_the_rest_has_its_default(tmp_path: Path) -> None:
    path = file(tmp_path, "dataset: digits\npruning_rate: 0.75\ngain_rule: elus\nepochs: 3\n")
    source = find(str(path), tmp_path, ["epochs=5", "learning_rate=3.0e-2"])
    assert source.config == TrainConfig(
        dataset="digits", pruning_rate=0.75, gain_rule="elus", epochs=5, learning_rate=0.03
    )
    assert (source.label, source.stem, source.network) == ("net.yaml", "net", None)


@given(st.floats(1e-300, 1e300), st.integers(0, 2**63 - 1))
def test_a_configuration_comes_back_from_its_file_exactly(tmp_path_factory: Any, number: float, seed: int) -> None:
    config = TrainConfig(weight_gain=number, learning_rate=number, seed=seed)
    assert of_file(file(tmp_path_factory.getbasetemp(), to_yaml(config)), {}) == config


@pytest.mark.parametrize(
    ("text", "changes", "lines"),
    [
        ("", [], [": must be a mapping of TrainConfig fields, but got an empty file. Write one field a line, "
                  "e.g. network: fcn."]),
        ("- 1\n", [], [": must be a mapping of TrainConfig fields, but got [1]. Write one field a line, "
                       "e.g. network: fcn."]),
        ("learning_rate: 3e-4\n", [], [": learning_rate: must be a finite number, but got '3e-4'. "
                                       "YAML reads 3e-4 as text; write 3.0e-4."]),
        ("epochs: 0\nlerning_rate: 1\n", [], [
            ": epochs: 1 <= epochs <= 1e+06 must hold, but got 0. Choose a value inside the range.",
            ": lerning_rate: must be a field of TrainConfig, but got 'lerning_rate'. Did you mean 'learning_rate'?",
        ]),
        ("epochs: 3\n", ["fixed.epochs=4"], [
            " with --set fixed.epochs: fixed.epochs: must be a field of TrainConfig, but got 'fixed.epochs'. "
            "Did you mean 'epochs'?",
        ]),
        ("epochs: 3\n", ["epochs=many"], [
            " with --set epochs: epochs: must be a whole number, but got 'many'. Give a whole number.",
        ]),
        ("name: x\nsearch: {pruning_rate: [0.1]}\n", [], [
            ": must be a mapping of TrainConfig fields, but got a search space. Run it: sweeps run {path}.",
        ]),
    ],
)  # fmt: skip
def test_the_faults_of_a_file_are_named_together(
    tmp_path: Path, text: str, changes: list[str], lines: list[str]
) -> None:
    path = file(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        find(str(path), tmp_path, changes)
    assert str(caught.value).splitlines() == [f"{path}{line}".replace("{path}", str(path)) for line in lines]


def test_a_missing_file_is_named_with_the_nearest(tmp_path: Path) -> None:
    path = file(tmp_path, "epochs: 3")
    with pytest.raises(ConfigError, match=r"nett\.yaml: must be a readable YAML file, but got no such file\. Did you "):
        find(str(path.with_name("nett.yaml")), tmp_path, [])


def test_a_change_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpaceError) as caught:
        find("net.yaml", tmp_path, ["epochs"])
    assert str(caught.value) == "--set: must read FIELD=VALUE, the value in YAML, but got 'epochs'. E.g. epochs=30."


def test_a_network_is_taken_out_of_parquet(
    tmp_path: Path, ended_row: Callable[..., dict[str, Any]], write_sweep: Callable[..., Any]
) -> None:
    write_sweep(tmp_path, [ended_row(0), ended_row(2, learning_rate=1 / 3)])
    source = find("small:2@1", tmp_path, [])
    assert source.config == TrainConfig(dataset="digits", epochs=1, batch_size=64, seed=2, learning_rate=1 / 3)
    assert (source.label, source.stem) == ("small, network 2@1", "small-2-1")
    assert source.network is not None
    assert (source.network["epoch"], source.network["val_accuracy"]) == (1, 0.88)
    assert find("small:2", tmp_path, []) == source  # on the front, as epoch 2 is no better
    changed = find("small:2@2", tmp_path, ["epochs=9"])
    assert (changed.config.epochs, changed.network) == (9, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("small", "CONFIG: must be a YAML file or NAME:TRIAL@EPOCH, but got 'small'. Write a sweep and one of its "
                  "networks, e.g. fcn_digits:12@30, or fcn_digits:12 for that of trial 12 on the front, else its last; "
                  "'sweeps list' shows the sweeps and 'sweeps pareto NAME' the best networks."),
        ("small:x", "CONFIG: must be a YAML file or NAME:TRIAL@EPOCH, but got 'small:x'. "),
        ("small:7", "small:7: every trial must be one of the sweep with a trained epoch, but 7 is not. "
                    "There are: 0, 2."),
        ("small:0@3", "small:0@3: the epoch must be one that the trial was trained for, but 0 has no epoch 3: its last "
                      "one is 2. Write 0@2."),
        ("smal:0", "sweep smal: must exist under "),
        ("../small:0", "CONFIG: must be a YAML file or NAME:TRIAL@EPOCH, but got"),
    ],
)  # fmt: skip
def test_what_is_neither_file_nor_trial_is_refused(
    tmp_path: Path,
    ended_row: Callable[..., dict[str, Any]],
    write_sweep: Callable[..., Any],
    text: str,
    message: str,
) -> None:
    write_sweep(tmp_path, [ended_row(0), ended_row(2)])
    with pytest.raises(SweepError) as caught:
        find(text, tmp_path, [])
    assert caught.value.message.startswith(message)
    assert caught.value.exit_code == 2
