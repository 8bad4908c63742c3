"""Finds the network that a user names as `NAME:TRIAL@EPOCH`, or as `NAME:TRIAL`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.analysis.selection import Selection, select
from sweeps.errors import SweepError
from sweeps.objectives import Key, network_name
from sweeps.store.paths import SweepPaths
from sweeps.stored import StoredSweep

_NETWORK = re.compile(r"([^/:]+):(\d{1,9})(?:@(\d{1,9}))?")


@dataclass(frozen=True)
class NamedNetwork:
    """A network of a sweep.

    Attributes:
        paths: Of the sweep.
        row: Of the network, see `sweeps.networks.with_trials`.
    """

    paths: SweepPaths
    row: Mapping[str, Any]

    @property
    def key(self) -> Key:
        """Its trial and epoch."""
        return self.row["trial"], self.row["epoch"]

    @property
    def title(self) -> str:
        """For people, e.g. `demo, network 12@7`."""
        return f"{self.paths.name}, network {network_name(self.key)}"

    @property
    def address(self) -> str:
        """For commands, e.g. `demo:12@7 --root elsewhere`."""
        return f"{self.paths.name}:{network_name(self.key)}{self.paths.root_option}"

    @property
    def stem(self) -> str:
        """For files, e.g. `demo-12-7`."""
        return "-".join((self.paths.name, *map(str, self.key)))

    def artifact(self) -> Path:
        """The file of its masks.

        Raises:
            SweepError: If they were not kept.
        """
        path = self.paths.mask(*self.key)
        if not path.is_file():
            raise SweepError(
                f"{self.title}: its masks must be in {path}, but they are not: a sweep keeps those of its front only. "
                f"Train it: sweeps train {self.address}; that writes artifact.safetensors, which can be exported"
            )
        return path


def find(text: str, root: Path | str | None, *, what: str, other: str = "") -> NamedNetwork:
    """Finds a network; a trial alone stands for its network on the front with the best estimate, else its last one.

    The trial may have ended in any way, or be running.

    Args:
        text: As the user wrote it.
        root: Folder or address of all sweeps; None is the usual one.
        what: The argument, for messages.
        other: What else it might have been, for messages.

    Raises:
        SweepError: If it names no network, or there is none of this name.
    """
    match = _NETWORK.fullmatch(text)
    if match is None:
        raise SweepError(
            f"{what}: must be {other}NAME:TRIAL@EPOCH, but got {text!r}. Write a sweep and one of its networks, e.g. "
            "fcn_digits:12@30, or fcn_digits:12 for that of trial 12 on the front, else its last; 'sweeps list' shows "
            "the sweeps and 'sweeps pareto NAME' the best networks."
        )
    sweep = StoredSweep.open(root, match[1])
    asked = Selection(text, text, named=((int(match[2]), int(match[3]) if match[3] else None),))
    (row,) = select(asked, sweep.networks(), sweep.trials(running=True), sweep.space)
    return NamedNetwork(sweep.paths, row)
