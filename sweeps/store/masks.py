"""Which trained masks are kept: those of the trials on the front."""

from collections.abc import Iterable, Mapping
from typing import Any

from search_spaces.space import SearchSpace
from sweeps.objectives import Claim, claim_of, is_beaten
from sweeps.store.paths import SweepPaths, replacing


class MaskStore:
    """The masks folder of a sweep. Masks of trials that leave the front are removed."""

    def __init__(self, paths: SweepPaths, space: SearchSpace, finished: Iterable[Mapping[str, Any]]) -> None:
        """Takes stock.

        Args:
            paths: Where the sweep is kept.
            space: Gives objectives and constraints.
            finished: Rows of trials that finished in earlier sessions.
        """
        self._folder, self._space = paths.masks, space
        self._folder.mkdir(exist_ok=True)
        self._front: dict[int, Claim] = {}
        for row in finished:
            self._enter(row)

    @property
    def rivals(self) -> list[Claim]:
        """The front so far: a trial beaten by one of these need not send its masks."""
        return list(self._front.values())

    @property
    def trials(self) -> frozenset[int]:
        """Numbers of the trials on the front."""
        return frozenset(self._front)

    def offer(self, row: Mapping[str, Any], artifact: bytes | None) -> None:
        """A trial finished; its masks are kept if it is on the front now.

        Args:
            row: Its trial row.
            artifact: Content of its file, or None when the worker saw that it was beaten.
        """
        if self._enter(row) and artifact is not None:
            with replacing(self._folder / f"{row['trial']}.safetensors") as temporary:
                temporary.write_bytes(artifact)

    def _enter(self, row: Mapping[str, Any]) -> bool:
        claim = claim_of(row, self._space.objectives.items())
        if not self._feasible(row) or is_beaten(claim, self._front.values()):
            return False
        for trial in [trial for trial, theirs in self._front.items() if is_beaten(theirs, [claim])]:
            del self._front[trial]
            (self._folder / f"{trial}.safetensors").unlink(missing_ok=True)
        self._front[row["trial"]] = claim
        return True

    def _feasible(self, row: Mapping[str, Any]) -> bool:
        return all(bound.violation(row[bound.metric]) <= 0 for bound in self._space.constraints)
