"""How and where to run, as the user says it."""

from dataclasses import dataclass
from pathlib import Path


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
