"""The search spaces that come with the program, and a space by its name or path."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search_spaces.errors import SpaceError
from search_spaces.faults import nearest
from search_spaces.load import load
from search_spaces.overrides import parse
from search_spaces.space import SearchSpace

_FOLDER = Path(__file__).parent
_PATHS = {"--name": "name", "--trials": "budget.trials", "--seed": "sampler.seed"}
"""What the options of `sweeps run` that stand for a `--set` change."""
_NOTHING: Mapping[str, Any] = {}


def names() -> list[str]:
    """Names of the shipped spaces."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def find(text: str, changes: Sequence[str] = (), options: Mapping[str, Any] = _NOTHING) -> SearchSpace:
    """The space of a file, or a shipped one by its name.

    Args:
        text: Path or name.
        changes: The `--set` options; they win.
        options: Values of the options that stand for one, by what the user types; None where that was left out.

    Raises:
        SpaceError: If it cannot be used, or no shipped space has the name.
    """
    changed = parse(changes)
    given = {_PATHS[option]: option for option, value in options.items() if value is not None}
    typed = {path: option for path, option in given.items() if path not in changed}
    shipped = _FOLDER / f"{text}.yaml"
    is_name = "/" not in text and not text.endswith((".yaml", ".yml")) and not Path(text).exists()
    if is_name and not shipped.exists():
        own = [f"{text}{end}" for end in (".yaml", ".yml") if Path(f"{text}{end}").is_file()]
        near = f"Did you mean {own[0]!r}?" if own else nearest(text, names())
        fault = (
            f"SPACE: must be a YAML file or one of {', '.join(names())}, but got {text!r}. "
            f"{near} Give your own file by its path, e.g. my_space.yaml; "
            "write one with: sweeps init my_space."
        )
        raise SpaceError([fault])
    overrides = {path: options[option] for path, option in typed.items()} | changed
    return load(shipped if is_name else text, overrides=overrides, options=typed)
