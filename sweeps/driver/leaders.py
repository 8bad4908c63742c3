"""The best trials so far, as the display needs them."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from sweeps.objectives import Claim, claim_of, is_beaten

SHOWN = {"val_accuracy": "maximize", "remaining": "minimize"}
"""What the display names the best trials by, beside the objectives."""


class Leaders:
    """Finished trials that no other beats; there are few of them, however many trials have finished.

    Args:
        objectives: Metrics to `maximize` or `minimize`.
        finished: Rows of trials that finished in earlier sessions.
    """

    def __init__(self, objectives: Mapping[str, str], finished: Iterable[Mapping[str, Any]] = ()) -> None:
        self._pairs = list((SHOWN | dict(objectives)).items())
        self._front: dict[int, tuple[Claim, dict[str, Any]]] = {}
        self.rows: tuple[dict[str, Any], ...] = ()
        """Trial, attempt, state and these metrics of each; replaced as a whole, so any thread may read it."""
        for row in finished:
            self.add(row)

    def add(self, row: Mapping[str, Any]) -> None:
        """A trial finished.

        Args:
            row: Its trial row.
        """
        claim = claim_of(row, self._pairs)
        if not all(map(math.isfinite, claim)) or is_beaten(claim, (theirs for theirs, _ in self._front.values())):
            return
        names = ("trial", "attempt", "state", *(name for name, _ in self._pairs))
        self._front = {trial: kept for trial, kept in self._front.items() if not is_beaten(kept[0], [claim])}
        self._front[row["trial"]] = claim, {name: row[name] for name in names}
        self.rows = tuple(kept for _, kept in self._front.values())
