"""From what stands on the command line to what the rest of the package takes."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.errors import SweepError
from sweeps.store.paths import SweepPaths, resolve_root

if TYPE_CHECKING:
    from sweeps.driver.plan import Options


def complete_space(incomplete: str) -> list[str]:
    """The search spaces that a shell completes: shipped ones by their names, files of this folder."""
    from search_spaces import shipped

    own = (path.name for path in Path().glob("*.y*ml"))
    return [name for name in (*shipped.names(), *sorted(own)) if name.startswith(incomplete)]


def or_remembered(paths: SweepPaths, **given: Any) -> dict[str, Any]:
    """Options as they were given; those left out as in the sweep's last session, the data only if they are here."""
    from sweeps.store.lease import read_session

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
    in_process: bool,
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
    from sweeps.driver.plan import Options

    for option, value in (("--gpus-per-pack", gpus_per_pack), ("--cpus-per-pack", cpus_per_pack)):
        if value is not None and not 0 < value < math.inf and (option, value) != ("--gpus-per-pack", 0):
            raise SweepError(f"{option}: must be greater than 0, but got {value:g}. Leave it out to have it chosen.")
    if in_process and (address or packs):
        other = "--address" if address else "--packs"
        raise SweepError(
            f"{other}: must be left out with --in-process, which trains one pack at a time in this process."
        )
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
        in_process=in_process,
        tracking_uri=tracking_uri,
        data_root=data,
        download=download,
        storage=storage,
        checkpoint_seconds=checkpoint_seconds,
        warm_start=warm_start,
    )
