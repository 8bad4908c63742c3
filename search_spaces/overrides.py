"""Values given in place of a file's, by dotted path, before the file is checked."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from search_spaces.document import with_text_keys
from search_spaces.errors import SpaceError
from search_spaces.faults import Faults, show


def parse(texts: Iterable[str], *, key: str = "PATH", example: str = "fixed.epochs=30") -> dict[str, Any]:
    """Reads overrides as a command line gives them.

    Args:
        texts: `PATH=VALUE` each; the value is read as YAML, e.g. `search.learning_rate.high=0.5`.
        key: What stands before the `=`, for messages.
        example: For messages.

    Returns:
        Dotted paths to values, for `load.load`.

    Raises:
        SpaceError: Naming every text that is none.
    """
    values: dict[str, Any] = {}
    faults = Faults("--set")
    for text in texts:
        path, equals, value = text.partition("=")
        try:
            values[path.strip()] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError, LookupError, OverflowError, AttributeError, RecursionError):
            equals = ""
        if not equals:
            faults.add("", f"must read {key}=VALUE, the value in YAML", got=show(text), remedy=f"E.g. {example}.")
    if faults.lines:
        raise SpaceError(faults.lines)
    return values


def apply(document: Mapping[str, Any], overrides: Mapping[str, Any], faults: Faults) -> dict[str, Any]:
    """Puts values in place of a document's.

    A field has one place, so a value for one place takes the field from the other: `fixed.X` ends the search of X,
    `search.X` frees a fixed X. Ending the search of X also ends that of the parameters whose conditions can then no
    longer hold.

    Args:
        document: A file's content; not changed.
        overrides: Dotted paths to values. Mappings on the way that do not exist are made.
        faults: Receives paths that are none or lead through something that is no mapping.

    Returns:
        The changed document.
    """
    changed = copy.deepcopy(dict(document))
    for path, value in overrides.items():
        for other in _other_places(path):
            if other not in overrides:
                _remove(changed, other, value)
    for path, value in overrides.items():
        _set(changed, path, with_text_keys(copy.deepcopy(value)), faults)
    return changed


def _other_places(path: str) -> list[str]:
    _, _, rest = path.partition(".")
    field = rest.partition(".")[0]
    places = {f"fixed.{field}", f"search.{field}"}
    # `search.X.high` changes a search that must already be there; it does not begin one.
    return sorted(places - {path}) if path in places else []


def _remove(document: dict[str, Any], path: str, value: Any) -> None:
    section, _, field = path.partition(".")
    entries = document.get(section)
    if isinstance(entries, dict) and field in entries:
        del entries[field]
        if section == "search":
            _remove_impossible(entries, field, value)


def _remove_impossible(search: dict[str, Any], parent: str, value: Any) -> None:
    for name, entry in list(search.items()):
        when = entry.get("when") if isinstance(entry, dict) else None
        if isinstance(when, dict) and parent in when and when[parent] != value:
            search.pop(name, None)
            # No value equals a new object: what depends on an absent parameter is absent too.
            _remove_impossible(search, name, object())


def _set(document: dict[str, Any], path: str, value: Any, faults: Faults) -> None:
    keys = path.split(".")
    if not all(keys):
        remedy = "Write it like --set fixed.epochs=30."
        faults.add("", "an override must be a dotted path", got=show(path), remedy=remedy)
        return
    inner: Any = document
    for depth, key in enumerate(keys[:-1]):
        inner = inner.setdefault(key, {})
        if not isinstance(inner, dict):
            way = ".".join(keys[: depth + 1])
            remedy = f"Override {way} itself."
            faults.add(
                path, f"an override leads through mappings, and {way} must be one", got=show(inner), remedy=remedy
            )
            return
    inner[keys[-1]] = value
