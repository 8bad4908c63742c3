"""From what stands on the command line to what the rest of the package takes."""

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.space import SearchSpace
from sweeps.errors import SweepError
from sweeps.paths import SweepPaths, check_inside, resolve_root

if TYPE_CHECKING:
    from sweeps.plan import Options

_SHIPPED = Path(sys.modules["search_spaces"].__path__[0])
_PATHS = {"--name": "name", "--trials": "budget.trials", "--seed": "sampler.seed"}
"""What the options of `run` that stand for a `--set` change."""
_NOTHING: Mapping[str, Any] = {}


def complete_space(incomplete: str) -> list[str]:
    """The search spaces that a shell completes: shipped ones by their names, files of this folder."""
    own = (path.name for path in Path().glob("*.y*ml"))
    return [name for name in (*_shipped(), *sorted(own)) if name.startswith(incomplete)]


def _shipped() -> list[str]:
    return sorted(path.stem for path in _SHIPPED.glob("*.yaml"))


def load_space(text: str, changes: Sequence[str] = (), options: Mapping[str, Any] = _NOTHING) -> SearchSpace:
    """The space of a file, or a shipped one by its name.

    Args:
        text: Path or name.
        changes: The `--set` options; they win.
        options: Values of the options that stand for one, by what the user types; None where that was left out.

    Raises:
        SpaceError: If it cannot be used.
        SweepError: If no shipped space has the name.
    """
    from search_spaces.faults import nearest
    from search_spaces.load import load
    from search_spaces.overrides import parse

    changed = parse(changes)
    given = {_PATHS[option]: option for option, value in options.items() if value is not None}
    typed = {path: option for path, option in given.items() if path not in changed}
    shipped = _SHIPPED / f"{text}.yaml"
    is_name = "/" not in text and not text.endswith((".yaml", ".yml")) and not Path(text).exists()
    if is_name and not shipped.exists():
        names = _shipped()
        own = [f"{text}{end}" for end in (".yaml", ".yml") if Path(f"{text}{end}").is_file()]
        near = f"Did you mean {own[0]!r}?" if own else nearest(text, names)
        raise SweepError(
            f"SPACE: must be a YAML file or one of {', '.join(names)}, but got {text!r}. "
            f"{near} Give your own file by its path, e.g. my_space.yaml; "
            "write one with: sweeps init my_space."
        )
    overrides = {path: options[option] for path, option in typed.items()} | changed
    return load(shipped if is_name else text, overrides=overrides, options=typed)


def space_of(paths: SweepPaths) -> SearchSpace:
    """The space of a sweep, as it was run.

    Raises:
        SweepError: If there is no such sweep, or a part of it lies elsewhere.
    """
    from search_spaces.load import load
    from sweeps import results

    check_inside(paths)
    if not paths.space.exists():
        results.load(paths.root, paths.name)  # names the sweeps that exist
    return load(paths.space)


def or_remembered(paths: SweepPaths, **given: Any) -> dict[str, Any]:
    """Options as they were given; those left out as in the sweep's last session, the data only if they are here."""
    from sweeps.sessions.heartbeat import read_session

    told: dict[str, Any] = read_session(paths).get("options", {})
    here = {name: value for name, value in told.items() if name != "data" or Path(value).is_dir()}
    return {name: here.get(name) if value in (None, "") else value for name, value in given.items()}


def options_of(
    *,
    root: str | None,
    lanes: str,
    gpus_per_pack: float | None,
    cpus_per_pack: int | None,
    packs: int | None,
    address: str | None,
    tracking_uri: str | None,
    data: str | None,
    download: bool,
    storage: str | None = None,
    checkpoint_seconds: float | None = None,
    warm_start: str | None = None,
) -> "Options":
    """How and where to run, from the options of `run` and `resume`.

    Raises:
        SweepError: If one is out of range.
    """
    from sweeps.plan import Options

    for option, value in (("--gpus-per-pack", gpus_per_pack), ("--cpus-per-pack", cpus_per_pack)):
        if value is not None and not 0 < value < math.inf and (option, value) != ("--gpus-per-pack", 0):
            raise SweepError(f"{option}: must be greater than 0, but got {value:g}. Leave it out to have it chosen.")
    if checkpoint_seconds is not None and not 0 <= checkpoint_seconds < math.inf:
        raise SweepError(
            f"--checkpoint-seconds: must be 0 or more, but got {checkpoint_seconds:g}. Leave it out to have it chosen."
        )
    if lanes != "auto" and not (lanes.isdecimal() and int(lanes)):
        raise SweepError(f"--lanes: must be a whole number from 1 or auto, but got {lanes!r}. Write for example 16.")
    return Options(
        root=resolve_root(root),
        lanes=None if lanes == "auto" else int(lanes),
        gpus_per_pack=gpus_per_pack,
        cpus_per_pack=cpus_per_pack,
        packs=packs,
        address=address,
        tracking_uri=tracking_uri,
        data_root=data,
        download=download,
        storage=storage,
        checkpoint_seconds=checkpoint_seconds,
        warm_start=warm_start,
    )
