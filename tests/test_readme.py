"""What the README shows is true of the code."""

import re
import shlex
from pathlib import Path

import pytest
import typer.core
import typer.main
import yaml

from search_spaces.load import load
from supermask.config import TrainConfig
from sweeps.__main__ import app
from sweeps.results import ResultsWriter, trials_table

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    lines += re.findall(r"^\| `(sweeps [^`]+)`", README, flags=re.MULTILINE)
    parsed = [shlex.split(line, comments=True) for line in lines]
    return [words for words in parsed if words]


@pytest.mark.parametrize("words", [words for words in commands() if words[0] == "sweeps"], ids=" ".join)
def test_every_sweeps_command_parses(words: list[str]) -> None:
    arguments = [word.strip("[]") for word in words[1:]]
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    command = group.commands[arguments[0]]
    command.make_context(arguments[0], arguments[1:], resilient_parsing=False)


def test_every_make_target_exists() -> None:
    targets = [words[1] for words in commands() if words[0] == "make"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert targets == ["demo", "test"]
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)


def test_the_search_space_loads(tmp_path: Path) -> None:
    (block,) = blocks("yaml")
    path = tmp_path / "space.yaml"
    path.write_text(block, encoding="utf-8")
    shown, shipped = load(path), load(ROOT / "search_spaces" / "fcn_mnist.yaml")
    assert shown.parameters == shipped.parameters
    assert yaml.safe_load(block)["name"] == shipped.name


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig().to_dict()
    writer = ResultsWriter(tmp_path / "sweeps-out" / "demo")
    row = {"trial": 0, "attempt": 1, "state": "finished", "val_accuracy": 0.9, "remaining": 0.1, **config}
    writer.add_trials(trials_table([row]))
    writer.flush()
    monkeypatch.chdir(tmp_path)
    (block,) = blocks("python")
    exec(compile(block, "README.md", "exec"), {})  # noqa: S102


@pytest.mark.parametrize("path", re.findall(r"\]\((?!https?://)([^)#]+)\)", README))
def test_every_link_leads_somewhere(path: str) -> None:
    assert (ROOT / path).exists()
