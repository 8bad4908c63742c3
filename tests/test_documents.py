"""What README, docs/ and the other pages show is true of the code: commands parse, scripts and links exist."""

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.core
import typer.main

from sweeps.__main__ import app

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
SHELL = ("sh", "bash", "shell", "console")


def blocks(page: Path) -> Iterator[str]:
    """What stands in the page's blocks of shell commands."""
    for language, block in re.findall(r"```(\w*)\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
        if language in SHELL:
            yield block.replace("\\\n", " ")


def commands(page: Path) -> Iterator[list[str]]:
    """The commands of a page's blocks, in words."""
    for block in blocks(page):
        for line in block.splitlines():
            yield shlex.split(line.removeprefix("$ "), comments=True)


def mentioned(page: Path) -> Iterator[list[str]]:
    """The commands that a page names within its text, in words; they need not be complete."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for line in re.findall(r"`((?:sweeps|python|make) [^`]+)`", text):
        yield shlex.split(line)


def every(first: str, *found_by: Callable[[Path], Iterator[list[str]]]) -> list[list[str]]:
    lines = (words for page in PAGES for find in found_by for words in find(page))
    return [list(words) for words in sorted({tuple(words) for words in lines if words[:1] == [first] and words[1:]})]


def command_of(name: str) -> Any:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    return group.commands[name]


@pytest.mark.parametrize("words", every("sweeps", commands), ids=" ".join)
def test_every_sweeps_command_parses(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = words[1:]
    for end in (">", "|", "2>", "&", "&&"):
        arguments = arguments[: arguments.index(end)] if end in arguments else arguments
    if not arguments[0].startswith("--"):
        command_of(arguments[0]).make_context(arguments[0], arguments[1:], resilient_parsing=False)


@pytest.mark.parametrize("words", every("sweeps", mentioned), ids=" ".join)
def test_every_command_and_option_in_the_text_exists(words: list[str]) -> None:
    name, *rest = (word.strip("[]") for word in words[1:])
    if not name.startswith("--") and name != "COMMAND":
        known = {option for parameter in command_of(name).params for option in parameter.opts}
        assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= {*known, "--help"}


@pytest.mark.parametrize("words", every("python", commands, mentioned), ids=" ".join)
def test_every_script_exists(words: list[str]) -> None:
    if words[1] == "-m":
        parts = words[2].split(".")
        assert not (ROOT / parts[0]).is_dir() or any(ROOT.joinpath(*parts).glob("__main__.py"))
    elif words[1] != "-c":
        assert (ROOT / words[1]).is_file()


@pytest.mark.parametrize("words", every("make", commands, mentioned), ids=" ".join)
def test_every_make_target_exists(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [word for word in words[1:] if "=" not in word and "/" not in word]
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)


LINKS = [
    (page, link)
    for page in PAGES
    for link in re.findall(r"\]\((?!https?://)([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize(("page", "link"), LINKS, ids=[f"{page.name}-{link}" for page, link in LINKS])
def test_every_link_leads_somewhere(page: Path, link: str) -> None:
    assert (page.parent / link).exists()


def test_the_readme_names_every_page() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = [page.relative_to(ROOT).as_posix() for page in (ROOT / "docs").glob("*.md")]
    assert [page for page in pages if f"({page})" not in text] == []
