"""`sweeps init`: what it writes loads, says what the paper had, and is never half there."""

import itertools
import sys
from pathlib import Path
from typing import Any

import pytest

from search_spaces.load import load
from supermask import data
from supermask.config import ConfigError, TrainConfig
from sweeps.commands.new_space import DATASETS, NETWORKS, write_space


@pytest.mark.parametrize(
    ("network", "dataset", "stopping"), list(itertools.product(NETWORKS, [*DATASETS, "folder:mine"], [True, False]))
)
def test_every_pair_loads_and_can_be_trained(tmp_path: Path, network: str, dataset: str, stopping: bool) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(write_space("mine", network, dataset, 17, stopping=stopping))
    space = load(file)
    assert (space.name, space.fixed["network"], space.fixed["dataset"]) == ("mine", network, dataset)
    assert (space.trials, space.sampler.name, bool(space.stopping)) == (17, "tpe", stopping)
    for parameter in space.parameters.values():
        assert len(parameter.extremes) == 2
    TrainConfig.from_dict({**space.fixed, **{name: found.extremes[0] for name, found in space.parameters.items()}})
    lines = file.read_text().splitlines()
    searched = lines[lines.index("search:") + 1 : lines.index("search:") + 1 + len(space.parameters)]
    assert all("#" in line for line in searched)
    assert sum("paper" in line for line in lines) >= 3


def test_the_paper_is_quoted_for_its_own_pairs_only() -> None:
    assert "97.48 % test accuracy" in write_space("mine", "fcn", "mnist", 4, stopping=False)
    other = write_space("mine", "conv4", "mnist", 4, stopping=False)
    assert other.startswith("# conv4 on mnist. The paper (arXiv 2201.13361) has no figures for this pair")
    assert "test accuracy" not in other
    assert "2,425,024" not in other  # weights for images of another size


def test_the_datasets_are_those_that_can_be_loaded() -> None:
    with pytest.raises(ConfigError, match=f"must be one of {', '.join(DATASETS)} or folder:NAME"):
        data.load("digtis")


def test_flags_ask_nothing_and_the_next_command_is_named(sweeps: Any) -> None:
    done = sweeps("init", "mine", "--network", "fcn", "--dataset", "digits", "--trials", "8")
    assert (done.code, done.out) == (0, "mine.yaml\n")
    assert done.err == (
        "what it would take here: sweeps run mine.yaml --dry-run\nrun it:                  sweeps run mine.yaml\n"
    )
    assert load("mine.yaml").trials == 8
    assert sweeps.files() == ["mine.yaml"]


def test_without_a_terminal_the_usual_is_taken(sweeps: Any) -> None:
    assert sweeps("init", "mine", "--out", "other.yaml").code == 0
    space = load("other.yaml")
    assert (space.name, space.fixed["network"], space.fixed["dataset"], space.trials) == ("mine", "fcn", "mnist", 64)


class Terminal:
    """A terminal on which these lines are typed."""

    def __init__(self, *lines: str) -> None:
        self._lines = [f"{line}\n" for line in lines]

    def isatty(self) -> bool:
        return True

    def readline(self, *_: int) -> str:
        return self._lines.pop(0)


def test_on_a_terminal_it_asks_three_questions(sweeps: Any) -> None:
    sweeps.monkeypatch.setattr(sys, "stdin", Terminal("conv2", "", "31"))
    done = sweeps("init", "mine")
    assert (done.code, done.out) == (0, "mine.yaml\n")
    assert [word in done.err for word in ("Network [fcn/conv2/", "Dataset: digits, ", "Trials to run (64)")] == [
        True
    ] * 3
    space = load("mine.yaml")
    assert (space.fixed["network"], space.fixed["dataset"], space.trials) == ("conv2", "cifar10", 31)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["../evil"], "name: must be 1 to 100 letters"),
        (["mine", "--network", "resnet"], "--network: must be one of fcn, conv2, conv4, conv6, conv8, resnet20, "),
        (["mine", "--dataset", "mnits"], "--dataset: must be one of digits, mnist, "),
        (["mine", "--out", "no/where.yaml"], "no/where.yaml: must be a file in a folder that exists. Choose another: "),
        (["taken"], "taken.yaml: must be a new file, but there is one. Choose another: sweeps init taken --out OTHER"),
    ],
)
def test_a_fault_is_one_message_and_leaves_nothing(sweeps: Any, arguments: list[str], message: str) -> None:
    Path("taken.yaml").write_text("mine")
    done = sweeps("init", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(message)
    assert done.err.count("\n") == 1
    assert sweeps.files() == ["taken.yaml"]
    assert Path("taken.yaml").read_text() == "mine"
