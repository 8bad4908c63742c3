"""Every promise of `docs/promises.md` is shown by a test that exists, and every test of a fault shows a promise."""

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
ROWS = [
    line
    for line in (REPOSITORY / "docs" / "promises.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| promise ")
]


def named(row: str) -> list[str]:
    """The tests that a row names."""
    return re.findall(r"`(tests/[\w/]+\.py::\w+)`", row)


def defined_in(file: Path) -> set[str]:
    """The tests of a file, as pytest names them."""
    functions = (node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef))
    return {f"{file.relative_to(REPOSITORY)}::{name}" for name in functions if name.startswith("test_")}


@pytest.mark.parametrize("row", ROWS)
def test_a_promise_is_shown_by_tests_that_exist(row: str) -> None:
    assert named(row), row
    for test in named(row):
        assert test in defined_in(REPOSITORY / test.split("::")[0]), test


def test_a_test_of_a_fault_shows_a_promise() -> None:
    shown = {test for row in ROWS for test in named(row)}
    for file in (REPOSITORY / "tests" / "faults").glob("test_*.py"):
        assert defined_in(file) <= shown, file
