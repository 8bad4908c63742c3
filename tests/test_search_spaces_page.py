"""What the page on search spaces shows is true of the code."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from search_spaces.load import load
from search_spaces.vocabulary import METRICS, SAMPLERS
from supermask.config import RULES, TrainConfig

DOCS = Path(__file__).parents[1] / "docs"
BASE: dict[str, Any] = {
    "name": "base",
    "search": {"learning_rate": {"low": 0.01, "high": 1.0}},
    "budget": {"trials": 4},
}


def text(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text(page), flags=re.DOTALL)


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
    assert list(table) == list(RULES)
    for field in dataclasses.fields(TrainConfig):
        what, default = table[field.name]
        for choice in RULES[field.name].choices:
            assert f"`{choice}`" in what, field.name
        if field.name == "seed":
            continue
        shown = {"sqrt(1.5)": 1.5**0.5}.get(default) or yaml.safe_load(default.strip("`").replace("5e-4", "5.0e-4"))
        assert shown == field.default, field.name


def test_every_metric_and_sampler_is_named() -> None:
    page = text("search-spaces.md")
    assert [name for name in (*METRICS, *SAMPLERS) if f"`{name}`" not in page] == []
