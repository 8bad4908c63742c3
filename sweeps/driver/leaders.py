"""The best trials so far, as the display needs them."""

from collections.abc import Iterable, Mapping
from typing import Any

from sweeps.objectives import Objectives, ParetoArchive

SHOWN = {"val_accuracy": "maximize", "remaining": "minimize"}
"""What the display names the best trials by, beside the objectives."""


class Leaders:
    """Finished trials that no other beats; there are few of them, however many trials have finished.

    Args:
        objectives: Metrics to `maximize` or `minimize`.
        finished: Rows of trials that finished in earlier sessions.
    """

    def __init__(self, objectives: Mapping[str, str], finished: Iterable[Mapping[str, Any]] = ()) -> None:
        self._names = ("trial", "attempt", "state", *(SHOWN | dict(objectives)))
        self._front = ParetoArchive(Objectives(SHOWN | dict(objectives)))
        self.rows: tuple[dict[str, Any], ...] = ()
        """Trial, attempt, state and these metrics of each; replaced as a whole, so any thread may read it."""
        for row in finished:
            self.add(row)

    def add(self, row: Mapping[str, Any]) -> None:
        """A trial finished.

        Args:
            row: Its trial row.
        """
        if self._front.add(row) is not None:
            kept = (one for one in self.rows if one["trial"] in self._front.claims)
            self.rows = (*kept, {name: row[name] for name in self._names})
