"""Reads a YAML file into plain values, within limits that no search space needs to pass.

The limits make a hostile or mistaken file a message instead of a full memory: aliases can multiply
a few hundred bytes into gigabytes.
"""

import difflib
from pathlib import Path
from typing import Any

import yaml

from search_spaces.faults import Faults, printable, show

LARGEST_BYTES = 256 * 1024
DEEPEST = 20
MOST_ALIASES = 100
MOST_VALUES = 20_000
"""Values in a document after every alias is replaced by what it stands for."""

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
    if text is None or not _is_small(text, faults):
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


class _Size:
    """Counts the values and the depth of a document, aliases included, without building it."""

    def __init__(self) -> None:
        self.aliases = 0
        self._anchors: dict[str, tuple[int, int]] = {}
        self._open: list[tuple[str | None, int, int]] = [(None, 0, 0)]

    def take(self, event: yaml.Event) -> None:
        """Counts one event of the parser."""
        if isinstance(event, yaml.CollectionStartEvent):
            self._open.append((event.anchor, 1, 1))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, values, depth = self._open.pop()
            self._put(anchor, values, depth)
        elif isinstance(event, yaml.ScalarEvent):
            self._put(event.anchor, 1, 0)
        elif isinstance(event, yaml.AliasEvent):
            self.aliases += 1
            self._put(None, *self._anchors.get(event.anchor or "", (0, 0)))

    def fault(self) -> tuple[str, str]:
        """The limit that is passed and by what, in words; empty when none is."""
        _, values, depth = self._open[-1]
        if len(self._open) - 1 + depth > DEEPEST + 1:
            return f"lists and mappings nest at most {DEEPEST} deep", "deeper nesting"
        if self.aliases > MOST_ALIASES:
            return f"must have at most {MOST_ALIASES} aliases", "more"
        if values > MOST_VALUES:
            return f"must have at most {MOST_VALUES} values, aliases written out", "more"
        return "", ""

    def is_open(self, anchor: str | None) -> bool:
        """Whether the value of this anchor has begun and not ended."""
        return any(name is not None and name == anchor for name, _, _ in self._open)

    def _put(self, anchor: str | None, values: int, depth: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = (values, depth)
        name, outer_values, outer_depth = self._open.pop()
        self._open.append((name, outer_values + values, max(outer_depth, depth + 1)))


def _is_small(text: str, faults: Faults) -> bool:
    size = _Size()
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            size.take(event)
            rule, got = size.fault()
            remedy = "Write the values out."
            if isinstance(event, yaml.AliasEvent) and size.is_open(event.anchor):
                rule, got = (
                    "a value must not hold itself",
                    f"the alias *{printable(str(event.anchor))} inside its own value",
                )
            if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag is not None:
                rule, got = "values carry no YAML tags", f"the tag {show(event.tag)}"
                remedy = "Remove the tag."
            if rule:
                faults.add("", rule, got=f"{got} at line {event.start_mark.line + 1}", remedy=remedy)
                return False
    except yaml.YAMLError as error:
        _note_syntax(error, faults)
        return False
    return True


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
