"""Watches a running sweep from another terminal, through its files."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from rich.console import Console
from rich.live import Live

from sweeps import pareto
from sweeps.display.panel import PLAIN_SECONDS, SweepView, line, panel
from sweeps.display.status import status
from sweeps.store.lease import session_notes
from sweeps.stored import StoredSweep

LEVELS = (0.02, 0.05, 0.20)
"""Fractions of remaining weights at which the best accuracy is shown."""
LOOK_SECONDS = 1.0

Look = Callable[[], StoredSweep]


def watch(look: Look, console: Console, *, seconds: float = LOOK_SECONDS) -> dict[str, Any]:
    """Shows how far a sweep is until it has ended: a live panel on a terminal, plain lines elsewhere.

    Args:
        look: Opens the sweep with its files as they are now.
        console: Where to show it.
        seconds: Between two looks.

    Returns:
        Its last status, see `sweeps.display.status`.

    Raises:
        SweepError: If there is no such sweep.
    """
    shown = -PLAIN_SECONDS
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            view, row = _view(look())
            if not _goes_on(row):
                return row
            if console.is_terminal:
                live.update(panel(view), refresh=True)
            elif time.monotonic() - shown >= PLAIN_SECONDS:
                shown = time.monotonic()
                console.print(line(view), highlight=False, markup=False, soft_wrap=True)
            time.sleep(seconds)


def watch_as_json(look: Look, stream: TextIO, *, seconds: float = LOOK_SECONDS) -> None:
    """Writes the status as a line of JSON whenever it has changed, until the sweep has ended; see `watch`."""
    before: Mapping[str, Any] = {}
    while True:
        row = status(look())
        if row | {"seconds": 0} != before:
            before = row | {"seconds": 0}
            stream.write(json.dumps(row) + "\n")
            stream.flush()
        if not _goes_on(row):
            return
        time.sleep(seconds)


def _goes_on(row: Mapping[str, Any]) -> bool:
    # A sweep whose folder has just been made has no session yet.
    return row["state"] == "running" or (row["state"] == "new" and not row["trials"]["asked"])


def _view(sweep: StoredSweep) -> tuple[SweepView, dict[str, Any]]:
    row, networks, budget = status(sweep), sweep.candidates(), sweep.space.trials
    ended = sum(row["trials"][state] for state in ("finished", "stopped", "failed"))
    left = row["seconds"] / ended * (budget - ended) if ended else None
    trained = sum(sweep.trials({"epochs_done"}).column("epochs_done").drop_null().to_pylist())
    done = sweep.epochs_trained
    view = SweepView(
        name=sweep.name,
        budget=budget,
        counts=row["trials"],
        epochs=(done, max(done, trained + (budget - ended) * sweep.space.most_epochs)),
        packs=(),
        best=tuple(pareto.best_at(networks, LEVELS)),
        hypervolume=row["hypervolume"] if networks.num_rows else None,
        seconds=row["seconds"],
        seconds_left=left,
        notes=session_notes(sweep.paths),
    )
    return view, row
