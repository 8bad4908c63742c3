"""How and where to run, as the user says it: checked, and completed with the options of the session before."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from sweeps.errors import SweepError
from sweeps.store.lease import read_session
from sweeps.store.paths import SweepPaths, resolve_root


@dataclass(frozen=True, kw_only=True)
class Options:
    """How and where to run, apart from what.

    Attributes:
        root: Folder of all sweeps.
        lanes: Lanes of a pack; None chooses.
        cpus_per_pack: CPU cores of a pack; None chooses.
        gpus_per_pack: GPUs of a pack, or a share of one; None takes one where there are any.
        packs: Packs in training at a time; None takes as many as there is room for, on a cluster at any moment.
        address: Of a Ray cluster; None starts Ray on this machine.
        in_process: Whether to train in this process, one pack at a time, without Ray.
        tracking_uri: Of MLflow; None is the database in the root.
        storage: Database for the study of a new sweep; None keeps it in a journal file.
        data_root: Folder of the datasets.
        download: Whether missing datasets may be fetched.
        checkpoint_seconds: Training between two states of a trial on disk; None chooses.
        warm_start: Name of a sweep that a new one's sampler learns from.
    """

    root: Path
    lanes: int | None = None
    cpus_per_pack: int | None = None
    gpus_per_pack: float | None = None
    packs: int | None = None
    address: str | None = None
    in_process: bool = False
    tracking_uri: str | None = None
    storage: str | None = None
    data_root: str | None = None
    download: bool = False
    checkpoint_seconds: float | None = None
    warm_start: str | None = None


class PackOptions(TypedDict, total=False):
    """How and where packs are trained; what is left out is chosen, or as in the last session of the sweep."""

    address: str | None
    """Ray cluster, e.g. `auto`; without it Ray starts on this machine."""
    in_process: bool
    """Whether to train in this process, one pack at a time, without Ray."""
    lanes: int | str | None
    """Trials fused into one pack."""
    packs: int | None
    """Maximum number of packs to run concurrently."""
    gpus_per_pack: float | None
    """GPUs of a pack, e.g. 1 or 0.25."""
    cpus_per_pack: int | None
    """CPU cores of a pack."""
    data: str | None
    """Folder of the datasets."""
    tracking_uri: str | None
    """MLflow store."""


class SessionOptions(PackOptions, total=False):
    """The same, and what else a session of a sweep may be given."""

    download: bool
    """Whether torchvision may fetch a missing dataset."""
    checkpoint_seconds: float | None
    """Seconds of training between checkpoints."""
    storage: str | None
    """Database for the study of a new sweep."""
    warm_start: str | None
    """Another sweep, whose finished trials warm-start the sampler of a new one."""


def or_remembered(paths: SweepPaths, **given: Any) -> dict[str, Any]:
    """Options as given; those left out as in the sweep's last session, the data only if they are on this machine."""
    told: dict[str, Any] = read_session(paths).get("options", {})
    here = {name: value for name, value in told.items() if name != "data" or Path(value).is_dir()}
    return {name: here.get(name) if value in (None, "") else value for name, value in given.items()}


def options_of(
    *,
    root: Path | str | None,
    lanes: int | str | None = None,
    gpus_per_pack: float | None = None,
    cpus_per_pack: int | None = None,
    packs: int | None = None,
    address: str | None = None,
    in_process: bool = False,
    tracking_uri: str | None = None,
    data: str | None = None,
    download: bool = False,
    storage: str | None = None,
    checkpoint_seconds: float | None = None,
    warm_start: str | None = None,
) -> Options:
    """The options of a session. Messages name them as the command line does.

    Raises:
        SweepError: If one is out of range.
    """
    for option, value in (("--gpus-per-pack", gpus_per_pack), ("--cpus-per-pack", cpus_per_pack), ("--packs", packs)):
        if value is not None and not 0 < value < math.inf and (option, value) != ("--gpus-per-pack", 0):
            raise SweepError(f"{option}: must be greater than 0, but got {value:g}. Leave it out to have it chosen.")
    if in_process and (address or packs):
        other = "--address" if address else "--packs"
        raise SweepError(f"{other}: must be left out with --in-process, which trains one pack at a time here.")
    if checkpoint_seconds is not None and not 0 <= checkpoint_seconds < math.inf:
        raise SweepError(
            f"--checkpoint-seconds: must be 0 or more, but got {checkpoint_seconds:g}. Leave it out to have it chosen."
        )
    text = "auto" if lanes is None else str(lanes)
    if text != "auto" and not (text.isdecimal() and int(text)):
        raise SweepError(f"--lanes: must be a whole number from 1 or auto, but got {lanes!r}. Write for example 16.")
    return Options(
        root=resolve_root(None if root is None else str(root)),
        lanes=None if text == "auto" else int(text),
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
