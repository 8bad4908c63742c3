"""Keeps the trained masks of the trials on the front."""

from collections.abc import Iterable, Mapping
from typing import Any

from search_spaces.space import SearchSpace
from sweeps.objectives import Claim, Objectives, ParetoArchive
from sweeps.store.paths import SweepPaths, replacing


class MaskStore:
    """The masks folder of a sweep; masks of trials that leave the front are removed."""

    def __init__(self, paths: SweepPaths, space: SearchSpace, finished: Iterable[Mapping[str, Any]]) -> None:
        """Finds the front of earlier sessions.

        Args:
            paths: Where the sweep is kept.
            space: Gives objectives and constraints.
            finished: Rows of trials that finished in earlier sessions.
        """
        self._folder = paths.masks
        self._folder.mkdir(exist_ok=True)
        self._front = ParetoArchive(Objectives.of(space))
        for row in finished:
            self._enter(row)

    @property
    def rivals(self) -> list[Claim]:
        """Claims of the front so far: a trial beaten by one of these need not send its masks."""
        return list(self._front.claims.values())

    @property
    def trials(self) -> frozenset[int]:
        """Numbers of the trials on the front."""
        return frozenset(self._front.claims)

    def offer(self, row: Mapping[str, Any], artifact: bytes | None) -> None:
        """Keeps the masks of a finished trial if it is on the front now.

        Args:
            row: Its trial row.
            artifact: Content of its file, or None when the worker saw that it was beaten.
        """
        if self._enter(row) and artifact is not None:
            with replacing(self._folder / f"{row['trial']}.safetensors") as temporary:
                temporary.write_bytes(artifact)

    def _enter(self, row: Mapping[str, Any]) -> bool:
        displaced = self._front.add(row)
        for trial in displaced or ():
            (self._folder / f"{trial}.safetensors").unlink(missing_ok=True)
        return displaced is not None
