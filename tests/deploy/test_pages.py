"""The pages about clusters: their commands are real and their links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest
import typer.core
import typer.main

from sweeps.__main__ import app

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs/clusters").glob("*.md")), ROOT / "docs/doctor.md", ROOT / "SECURITY.md"]
RUNS = {"deploy/run_or_resume.sh", "deploy/sweep.slurm"}


def commands() -> list[list[str]]:
    """Every `sweeps` command of the pages, and those that the scripts make of their words."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), flags=re.DOTALL):
            quoted = re.findall(r"'([^']*)'", block.replace("\\\n", " "))
            for line in [*block.replace("\\\n", " ").splitlines(), *quoted]:
                words = [word for part in re.split("&&|;", line) for word in _words(part)]
                found += [words] if words else []
    return found


def _words(part: str) -> list[str]:
    try:
        words = shlex.split(part, comments=True)
    except ValueError:  # a part of something in quotes
        return []
    script = next((index for index, word in enumerate(words) if word in RUNS), None)
    if script is not None:
        name, space, *options = words[script + 1 :]
        return ["sweeps", "run", space, "--name", name, *(option for option in options if option != "--")]
    return words if words[:1] == ["sweeps"] else []


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_parses(words: list[str]) -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    group.commands[words[1]].make_context(words[1], words[2:], resilient_parsing=False)


def test_there_are_commands_of_every_kind() -> None:
    assert {words[1] for words in commands()} >= {"doctor", "run", "status"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
