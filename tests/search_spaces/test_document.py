"""Files that are no documents: each is one clear message, quickly, whatever they hold."""

import os
from pathlib import Path

import pytest

from search_spaces import document
from search_spaces.errors import SpaceError
from search_spaces.faults import Faults
from search_spaces.load import load

SYNTAX = "Look at the indentation, colons, quotes and brackets there."
START = "Start from one of the shipped files, e.g. search_spaces/fcn_digits.yaml."


def only_fault(path: Path) -> str:
    with pytest.raises(SpaceError) as caught:
        load(path)
    (fault,) = caught.value.faults
    assert fault.startswith(f"{path}: ")
    return fault.removeprefix(f"{path}: ")


def bomb(levels: int, width: int) -> bytes:
    lines = ["a0: &a0 [lol]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * width)}]" for level in range(1, levels)]
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", f"must be a mapping of name, search and budget, but got an empty file. {START}"),
        (b"# only a comment\n", f"must be a mapping of name, search and budget, but got an empty file. {START}"),
        (b"- 1\n- 2\n", f"must be a mapping of name, search and budget, but got [1, 2]. {START}"),
        (b"text", f"must be a mapping of name, search and budget, but got 'text'. {START}"),
        (
            b"name: a\nsearch: {low: 1\n",
            f"must be YAML, but got expected ',' or '}}', but got '<stream end>' at line 3, column 1. {SYNTAX}",
        ),
        (
            b"name: a\n  search: b\n",
            f"must be YAML, but got mapping values are not allowed here at line 2, column 9. {SYNTAX}",
        ),
        (
            b"name: a\n---\nname: b\n",
            f"must be YAML, but got but found another document at line 2, column 1. {SYNTAX}",
        ),
        (
            b"name: *gone\n",
            "must have no anchors and aliases, but got the alias *gone at line 1. Write the values out.",
        ),
        (b"[1]: 2\n", f"must be YAML, but got found unhashable key at line 1, column 1. {SYNTAX}"),
        (
            b"name: a\x00b\n",
            "must be YAML, but got unacceptable character #x0000: special characters are not allowed "
            '  in "<unicode string>", position 7. Remove what is not plain text.',
        ),
        (b"name: \xff\n", "must be UTF-8 text, but got byte 0xff at position 6. Save the file as UTF-8."),
        (
            b"name: 2024-13-45\n",
            "every value must be readable, but got 'month must be in 1..12'. "
            "Look for a date or a very long number; quote it if it is a name.",
        ),
        (
            b"a: !!python/name:os.system\n",
            "values carry no YAML tags, but got the tag 'tag:yaml.org,2002:python/name:os.system' at line 1. "
            "Remove the tag.",
        ),
        (
            b"a: &a [*a]\n",
            "must have no anchors and aliases, but got the anchor &a at line 1. Write the values out.",
        ),
        (
            b"[" * 21 + b"]" * 21,
            "lists and mappings nest at most 20 deep, but got deeper nesting at line 1. Write the values out.",
        ),
        (
            b"[" * 100_000,
            "lists and mappings nest at most 20 deep, but got deeper nesting at line 1. Write the values out.",
        ),
        (
            bomb(levels=9, width=9),
            "must have no anchors and aliases, but got the anchor &a0 at line 1. Write the values out.",
        ),
        (
            b"name: &a 1\n",
            "must have no anchors and aliases, but got the anchor &a at line 1. Write the values out.",
        ),
        (
            b"a: [" + b"1, " * 20_000 + b"]",
            "must have at most 20000 keys and values, but got more at line 1. Search a range instead of choices.",
        ),
        (
            b"a: " + b"x" * 300_000,
            "must have at most 262144 bytes, but got a larger file. Check that the path names the right file.",
        ),
    ],
    ids=lambda value: str(value[:40]),
)
def test_message_about_content(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_bytes(content)

    assert only_fault(path) == message


def test_the_limits_are_reached_before_the_faults(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_bytes(b"a: [" + b"1, " * (20_000 - 1 - 3 - 19) + b"]\nc: " + b"[" * 19 + b"]" * 19)
    faults = Faults(str(path))

    content = document.read(path, faults)

    assert faults.lines == []
    assert content is not None
    assert len(content["a"]) == 20_000 - 23


def test_a_missing_file_names_its_nearest_neighbour(tmp_path: Path) -> None:
    (tmp_path / "fcn_mnist.yaml").write_text("name: a")

    near = f"must be a readable YAML file, but got no such file. Did you mean '{tmp_path / 'fcn_mnist.yaml'}'?"
    assert only_fault(tmp_path / "fcn_mnits.yaml") == near
    assert only_fault(tmp_path / "none" / "zzz.yaml") == (
        "must be a readable YAML file, but got no such file. Check the path."
    )


def test_unreadable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = tmp_path / "closed.yaml"
    closed.write_text("name: a")

    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError(13, os.strerror(13), str(closed))

    message = "must be a readable YAML file, but got the error 'Is a directory'. Check the path and its permissions."
    assert only_fault(tmp_path) == message
    # A test that runs as the superuser can read everything, so the refusal is put in place of the opening.
    monkeypatch.setattr(Path, "open", refuse)
    message = "must be a readable YAML file, but got the error 'Permission denied'. Check the path and its permissions."
    assert only_fault(closed) == message


def test_a_path_that_cannot_exist() -> None:
    with pytest.raises(SpaceError) as caught:
        load("a\x00b.yaml")

    assert str(caught.value) == (
        r"a\x00b.yaml: must be a readable YAML file, but got the error 'embedded null byte'. "
        "Check the path and its permissions."
    )


def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: a\r\nbudget: {trials: 1}\r\nsearch: {momentum: [0.1]}\r\n")

    assert load(path).name == "a"


def test_anchors_and_merged_mappings_are_refused_once(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(
        "name: a\nbudget: {trials: 1}\nsearch: {width: &w {low: 1, high: 2}, momentum: {<<: *w, low: 0, high: 0.5}}\n"
    )

    assert only_fault(path) == (
        "must have no anchors and aliases, but got the anchor &w at line 3. Write the values out."
    )


def test_duplicates_are_found_at_every_depth(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("a: 1\nb: [{c: 1, 'c': 2}]\nd:\n  e: 1\n  e: 2\na: 2\n")
    faults = Faults("f")

    document.read(path, faults)

    rule = "a key stands once in its mapping, but got it again at line"
    assert sorted(faults.lines) == [
        f"f: a: {rule} 6. Remove one of the two.",
        f"f: b.0.c: {rule} 2. Remove one of the two.",
        f"f: d.e: {rule} 5. Remove one of the two.",
    ]
