"""Trained states of trials that have not ended, so that these go on where they were when a process or a node dies.

A checkpoint is of one lane, so that lanes can go on in other packs: `ROOT/NAME/checkpoints/TRIAL.safetensors`, with a
checksum, without the frozen weights, which the seed gives again. One process writes them, beside the driver; workers
send it their states. A state is kept only when the driver has been told of all its epochs.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from supermask.config import ConfigError
from supermask.sealed import seal, unseal
from sweeps.store.paths import TEMPORARY_PREFIX, replacing

if TYPE_CHECKING:
    from sweeps.search.study import AskedTrial

SUFFIX, DAMAGED = ".safetensors", ".damaged"

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reached:
    """How far a trial had come when its state was kept.

    Attributes:
        trial: Its number.
        attempt: Which start of it this was, from 1.
        epoch: Epochs done.
        seconds: Time that these took.
        started: When they began.
        config: Fingerprint of its configuration.
        accuracies: On the validation part after each of the last epochs, as `sweeps.estimate` needs them.
    """

    trial: int
    attempt: int
    epoch: int
    seconds: float
    started: datetime
    config: str
    accuracies: tuple[float, ...] = ()


@dataclass(frozen=True)
class Checkpoint:
    """A trained lane.

    Attributes:
        reached: Of which trial, and how far it had come.
        plateaus: What its schedule remembers.
        arrays: What its training has changed.
    """

    reached: Reached
    plateaus: list[Any]
    arrays: dict[str, np.ndarray]

    def to_bytes(self) -> bytes:
        """The content of its file."""
        content = asdict(self.reached) | {"started": self.reached.started.isoformat(), "plateaus": self.plateaus}
        return seal(json.dumps(content), self.arrays)

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> "Checkpoint":
        """What `to_bytes` gave.

        Args:
            data: Content of a file.
            where: Its name, for messages.

        Raises:
            ConfigError: If it is damaged, or something else.
        """
        text, arrays = unseal(data, where)
        try:
            content: dict[str, Any] = json.loads(text)
            plateaus, started = content.pop("plateaus"), datetime.fromisoformat(content.pop("started"))
            reached = Reached(started=started, accuracies=tuple(content.pop("accuracies", ())), **content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"checkpoint {where}: must be of a trial, but got {error!r}. Remove it.") from error
        return cls(reached, plateaus, arrays)


def fingerprint(config: Mapping[str, Any]) -> str:
    """A hash of the fields of a configuration: a state belongs to one with the same."""
    return hashlib.sha256(json.dumps(dict(config), sort_keys=True).encode()).hexdigest()


def path_of(folder: Path, trial: int) -> Path:
    """The file of a trial."""
    return folder / f"{trial}{SUFFIX}"


def write(folder: Path, checkpoint: Checkpoint) -> None:
    """Puts a checkpoint in the place of the last one of its trial.

    Raises:
        OSError: If that cannot be done; the last one is as it was then.
    """
    folder.mkdir(exist_ok=True)
    with replacing(path_of(folder, checkpoint.reached.trial)) as temporary:
        temporary.write_bytes(checkpoint.to_bytes())


def read(folder: Path, trial: int) -> Checkpoint | None:
    """The checkpoint of a trial on disk; None if there is none. A damaged file is set aside."""
    path = path_of(folder, trial)
    try:
        return Checkpoint.from_bytes(path.read_bytes(), str(path))
    except FileNotFoundError:
        return None
    except (ConfigError, OSError) as error:
        aside = path.with_name(path.name + DAMAGED)
        _LOG.warning("trial %d: its checkpoint is set aside as %s: %s", trial, aside.name, error)
        path.rename(aside)
        return None


def take_stock(folder: Path, trials: "Iterable[AskedTrial]", *, any_attempt: bool = False) -> dict[int, Reached]:
    """What an earlier session left of trials that have not ended; all other files are removed.

    Args:
        folder: Where the files are; need not exist.
        trials: The open trials of the study.
        any_attempt: Whether a state may be of another start of its trial than the last one.
    """
    expected = {trial.number: (trial.attempts, fingerprint(trial.config.to_dict())) for trial in trials}
    for unfinished in folder.glob(f"{TEMPORARY_PREFIX}*"):
        unfinished.unlink(missing_ok=True)
    found: dict[int, Reached] = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        trial = int(path.stem) if path.stem.isdecimal() else -1
        checkpoint = read(folder, trial) if trial in expected else None
        attempt, config = expected.get(trial, (0, ""))
        fits = any_attempt or (checkpoint and checkpoint.reached.attempt == attempt)
        if checkpoint and checkpoint.reached.config == config and fits:
            found[trial] = checkpoint.reached
        else:
            path.unlink(missing_ok=True)
    return found


def recorded(found: Mapping[int, Reached], epochs: Iterable[Mapping[str, Any]]) -> dict[int, Reached]:
    """The states whose every epoch is in Parquet: a trial that went on from another would lack some for ever.

    Args:
        found: From `take_stock`.
        epochs: Rows of Parquet, of every attempt; of other trials, too.
    """
    done: dict[int, set[int]] = {trial: set() for trial in found}
    for row in epochs:
        trial = row["trial"]
        if trial in found and row["attempt"] == found[trial].attempt and row["epoch"] <= found[trial].epoch:
            done[trial].add(row["epoch"])
    whole = {trial: reached for trial, reached in found.items() if len(done[trial]) == reached.epoch}
    for trial in found.keys() - whole.keys():
        text = "trial %d: starts again: its state is of epoch %d, but only %d of these epochs are in Parquet"
        _LOG.warning(text, trial, found[trial].epoch, len(done[trial]))
    return whole
