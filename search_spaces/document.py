"""Reads a YAML file into plain values, within limits that no search space needs to pass.

The limits make a hostile or mistaken file a message instead of a full memory. Anchors and aliases are refused: they
can multiply a few hundred bytes into gigabytes.
"""

import difflib
from pathlib import Path
from typing import Any

import yaml

from search_spaces.faults import Faults, printable, show

LARGEST_BYTES = 256 * 1024
DEEPEST = 20
MOST_VALUES = 20_000

RULE = "must be a mapping of name, search and budget"
START = "Start from one of the shipped files, e.g. search_spaces/fcn_digits.yaml."


def read(path: Path, faults: Faults, *, rule: str = RULE, start: str = START) -> dict[str, Any] | None:
    """Reads one document.

    Args:
        path: The file.
        faults: Receives what is wrong with it.
        rule: What the document must be; a search space unless given.
        start: What to do when it is something else.

    Returns:
        The document's mapping, all keys as text; None when the file holds none. Keys that stand twice are
        noted as faults and keep their last value.
    """
    text = _read_text(path, faults)
    if text is None or not _is_plain(text, faults):
        return None
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is not None:
            _note_duplicates(node, "", faults)
        content = None if node is None else loader.construct_document(node)
    except yaml.YAMLError as error:
        _note_syntax(error, faults)
        return None
    except (ValueError, OverflowError) as error:
        # Python refuses whole numbers of more than 4300 digits and dates such as 2024-13-45.
        remedy = "Look for a date or a very long number; quote it if it is a name."
        faults.add("", "every value must be readable", got=show(str(error)), remedy=remedy)
        return None
    return _mapping(content, faults, rule, start)


def _mapping(content: Any, faults: Faults, rule: str, start: str) -> dict[str, Any] | None:
    if content is None:
        faults.add("", rule, got="an empty file", remedy=start)
        return None
    if not isinstance(content, dict):
        faults.add("", rule, got=show(content), remedy=start)
        return None
    return with_text_keys(content)


def _read_text(path: Path, faults: Faults) -> str | None:
    rule = "must be a readable YAML file"
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except FileNotFoundError:
        faults.add("", rule, got="no such file", remedy=_missing_remedy(path))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        faults.add("", rule, got=f"the error {reason!r}", remedy="Check the path and its permissions.")
    else:
        return _decode(content, faults)
    return None


def _decode(content: bytes, faults: Faults) -> str | None:
    if len(content) > LARGEST_BYTES:
        remedy = "Check that the path names the right file."
        faults.add("", f"must have at most {LARGEST_BYTES} bytes", got="a larger file", remedy=remedy)
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        got = f"byte 0x{content[error.start]:02x} at position {error.start}"
        faults.add("", "must be UTF-8 text", got=got, remedy="Save the file as UTF-8.")
        return None


def _missing_remedy(path: Path) -> str:
    try:
        names = sorted(entry.name for entry in path.parent.glob("*.yaml"))
    except OSError:
        names = []
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"Did you mean {str(path.parent / close[0])!r}?" if close else "Check the path."


def _note_syntax(error: yaml.YAMLError, faults: Faults) -> None:
    rule, remedy = "must be YAML", "Look at the indentation, colons, quotes and brackets there."
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        faults.add("", rule, got=printable(str(error).replace("\n", " ")), remedy="Remove what is not plain text.")
        return
    problem = printable(str(getattr(error, "problem", None) or "a mistake"))
    faults.add("", rule, got=f"{problem} at line {mark.line + 1}, column {mark.column + 1}", remedy=remedy)


def _is_plain(text: str, faults: Faults) -> bool:
    """Whether a document keeps the limits and has nothing but mappings, lists, keys and values."""
    depth = values = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            values += isinstance(event, yaml.NodeEvent)
            if fault := _fault_of(event, depth, values):
                rule, got, remedy = fault
                faults.add("", rule, got=f"{got} at line {event.start_mark.line + 1}", remedy=remedy)
                return False
    except yaml.YAMLError as error:
        _note_syntax(error, faults)
        return False
    return True


def _fault_of(event: yaml.Event, depth: int, values: int) -> tuple[str, str, str] | None:
    """Rule, what was got and remedy, when an event of the parser is not to be there."""
    write = "Write the values out."
    if depth > DEEPEST:
        return f"lists and mappings nest at most {DEEPEST} deep", "deeper nesting", write
    if values > MOST_VALUES:
        return f"must have at most {MOST_VALUES} keys and values", "more", "Search a range instead of choices."
    if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
        sign = "alias *" if isinstance(event, yaml.AliasEvent) else "anchor &"
        return "must have no anchors and aliases", f"the {sign}{printable(event.anchor)}", write
    if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag is not None:
        return "values carry no YAML tags", f"the tag {show(event.tag)}", "Remove the tag."
    return None


def _note_duplicates(node: yaml.Node, path: str, faults: Faults) -> None:
    if isinstance(node, yaml.SequenceNode):
        for place, item in enumerate(node.value):
            _note_duplicates(item, f"{path}.{place}", faults)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[tuple[str, str]] = set()
    for key, value in node.value:
        inner = f"{path}.{key_text(key.value)}".lstrip(".") if isinstance(key, yaml.ScalarNode) else path
        if isinstance(key, yaml.ScalarNode):
            if (key.tag, key.value) in seen:
                got = f"it again at line {key.start_mark.line + 1}"
                faults.add(inner, "a key stands once in its mapping", got=got, remedy="Remove one of the two.")
            seen.add((key.tag, key.value))
        _note_duplicates(value, inner, faults)


def key_text(key: Any) -> str:
    """A key as printable text: `1: x` and `true: x` have keys that are not."""
    return printable(show(key) if not isinstance(key, str) else key)


def with_text_keys(content: Any) -> Any:
    """Plain values with every key of every mapping as text."""
    if isinstance(content, dict):
        return {key_text(key): with_text_keys(value) for key, value in content.items()}
    if isinstance(content, list):
        return [with_text_keys(item) for item in content]
    return content
