"""The wording of faults: where, which rule, which value, what to do."""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from supermask.config import RULES, Rule

_KIND_WORDS = {int: "a whole number", float: "a finite number", str: "a name"}
_GIVE_NUMBER = "Give a number."
_SHOWN_CHARACTERS = 80
_EXPONENT = re.compile(r"([-+]?\d{1,9})(\.\d*)?[eE]([-+]?)(\d{1,4})")
_YAML_EXPONENT = re.compile(r"[-+]?\d+\.\d*[eE][-+]\d+")
_NONE: Mapping[str, str] = {}


class Faults:
    """Collects the faults of one file.

    Attributes:
        lines: The faults so far, worded.
    """

    def __init__(self, file: str, overridden: Iterable[str] = (), options: Mapping[str, str] = _NONE) -> None:
        """Starts with no faults.

        Args:
            file: Name of the file, as the user wrote it.
            overridden: Dotted paths whose values came from overrides, not from the file.
            options: By path, the option that a value came from where that is not `--set`.
        """
        self.lines: list[str] = []
        self._file = printable(file)
        self._overridden = tuple(printable(path) for path in overridden)
        self._options = options

    def add(self, path: str, rule: str, *, got: str, remedy: str) -> None:
        """Notes one fault, worded `FILE: path: rule, but got VALUE. Remedy`.

        Args:
            path: Dotted path of the fault; empty for the whole document.
            rule: What must hold.
            got: What stands there instead, in words.
            remedy: What to do about it, a sentence with its full stop.
        """
        concerned = [name for name in self._overridden if _within(name, path) or _within(path, name)] if path else []
        source = "".join(f" with {self._options.get(name, f'--set {name}')}" for name in concerned)
        place = f"{self._file}{source}: {path}" if path else self._file
        self.lines.append(f"{place}: {rule}, but got {got}. {remedy}")

    def add_unknown(self, path: str, what: str, name: str, legal: Iterable[str]) -> None:
        """Notes a name that does not exist, with the nearest one that does."""
        self.add(path, f"must be a known {what}", got=show(name), remedy=nearest(name, legal))


def check_value(faults: Faults, path: str, value: Any, *, name: str, rule: Rule) -> bool:
    """Notes a fault unless `value` keeps the rule of the field `name`.

    Returns:
        Whether it does.
    """
    if not rule.has_kind(value):
        owners = [other for other in RULES if isinstance(value, str) and value in RULES[other].choices]
        remedy = f"{show(value)} is a value of {owners[0]}." if owners else _kind_remedy(value, rule.kind)
        faults.add(path, f"must be {_KIND_WORDS[rule.kind]}", got=show(value), remedy=remedy)
    elif rule.holds(value):
        return True
    elif rule.choices:
        faults.add(
            path, f"must be one of {', '.join(rule.choices)}", got=show(value), remedy=nearest(value, rule.choices)
        )
    elif rule.kind is str:
        faults.add(path, "must be a name", got=show(value), remedy="Give a name that is not empty.")
    else:
        remedy = "Choose a value inside the range."
        faults.add(path, f"{rule.bounds(name)} must hold", got=show(value), remedy=remedy)
    return False


def nearest(name: Any, legal: Iterable[str]) -> str:
    """A question that names the legal name closest to `name`, whose capitals do not matter."""
    names = {one.casefold(): one for one in legal}
    close = difflib.get_close_matches(str(name)[:200].casefold(), list(names), n=1, cutoff=0.0)
    return f"Did you mean {names[close[0]]!r}?"


def show(value: Any) -> str:
    """A value as YAML would have it, shortened to a readable length."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        # Python refuses to write out whole numbers of more than 4300 digits.
        return f"a {type(value).__name__} too large to show"
    return printable(text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}...")


def printable(text: str) -> str:
    """Text without characters that a terminal would obey or a file could not store."""
    return text if text.isprintable() else text.encode("unicode_escape", "backslashreplace").decode("ascii")


def number_remedy(value: Any, *, whole: bool = False) -> str:
    """What to do about something that should have been a number.

    Args:
        value: What was found.
        whole: Whether the number must be whole.
    """
    if isinstance(value, str):
        written = _as_number(value.strip(), whole=whole)
        if written and (_EXPONENT.fullmatch(value) is None or _YAML_EXPONENT.fullmatch(value)):
            return f"Write {written} without quotes."
        if written:
            return f"YAML reads {value} as text; write {written}."
    if whole and isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return f"Write {int(value)}."
    return "Give a whole number." if whole else _GIVE_NUMBER


def _kind_remedy(value: Any, kind: type) -> str:
    if kind is not str:
        return number_remedy(value, whole=kind is int)
    if isinstance(value, bool):
        return "YAML reads on, off, yes and no as true or false; put a name in quotes."
    return "Give a name."


def _as_number(text: str, *, whole: bool) -> str:
    """The number that `text` means, written so that YAML reads a number; empty if it means none."""
    try:
        value = float(text)
    except ValueError:
        return ""
    if whole:
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else ""
    match = _EXPONENT.fullmatch(text)
    if match is None:
        return text if re.fullmatch(r"[-+]?\d+(\.\d*)?", text) else ""
    digits, fraction, sign, exponent = match.groups()
    return f"{digits}{fraction if fraction and fraction != '.' else '.0'}e{sign or '+'}{exponent}"


def _within(inner: str, outer: str) -> bool:
    return inner == outer or inner.startswith(f"{outer}.")
