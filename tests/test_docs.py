"""What the pages of docs/ about a sweep's first steps show is true of the code."""

import dataclasses
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.core
import typer.main
import yaml

from search_spaces.load import load
from search_spaces.vocabulary import FIELDS, METRICS, SAMPLERS
from supermask.config import TrainConfig
from sweeps.__main__ import app

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ("mlflow.md", "quick-start.md", "search-spaces.md")
BASE: dict[str, Any] = {
    "name": "base",
    "search": {"learning_rate": {"low": 0.01, "high": 1.0}},
    "budget": {"trials": 4},
}


def text(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text(page), flags=re.DOTALL)


def commands(page: str) -> list[list[str]]:
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    lines += re.findall(r"`(sweeps [a-z][^`]*)`", text(page))
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@pytest.mark.parametrize(
    "words", [words for page in PAGES for words in commands(page) if words[0] == "sweeps"], ids=" ".join
)
def test_every_sweeps_command_parses(words: list[str]) -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    if words[1] in group.commands:
        group.commands[words[1]].make_context(words[1], words[2:], resilient_parsing=False)
    else:
        assert words[1:] in (["--help"], ["--install-completion"], ["COMMAND", "--help"])


@pytest.mark.parametrize("block", blocks("search-spaces.md", "yaml"))
def test_every_search_space_loads(block: str, tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(BASE | yaml.safe_load(block)), encoding="utf-8")
    load(path)
    if block.startswith("name:"):
        path.write_text(block, encoding="utf-8")
        load(path)


def test_every_field_is_explained_with_its_default_and_its_choices() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| ?(.*?) ?\|$", text("search-spaces.md"), flags=re.MULTILINE)
    table = {name: (what, default) for name, what, default, _ in rows}
    assert list(table) == list(FIELDS)
    for field in dataclasses.fields(TrainConfig):
        what, default = table[field.name]
        for choice in FIELDS[field.name].choices:
            assert f"`{choice}`" in what, field.name
        if field.name == "seed":
            continue
        shown = {"sqrt(1.5)": 1.5**0.5}.get(default) or yaml.safe_load(default.strip("`").replace("5e-4", "5.0e-4"))
        assert shown == field.default, field.name


def test_every_metric_and_sampler_is_named() -> None:
    page = text("search-spaces.md")
    assert [name for name in (*METRICS, *SAMPLERS) if f"`{name}`" not in page] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for path in re.findall(r"\]\((?!https?://)([^)#]+)\)", text(page)):
        assert (DOCS / path).exists(), path
