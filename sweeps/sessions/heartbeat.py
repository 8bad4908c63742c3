"""What the running or last driver of a sweep says of itself, in the file by which it holds the sweep's lease."""

import json
from collections.abc import Mapping
from typing import Any

from sweeps.paths import SweepPaths, replacing
from sweeps.storage import lease


def read_session(paths: SweepPaths) -> dict[str, Any]:
    """The last session of a sweep; `state` is `died` when its driver is gone without a word.

    Returns:
        What the driver wrote; `seconds` of all sessions so far, and `trials` by state, or `{"state": "new"}` with
        neither when no session has run.
    """
    return {"seconds": 0.0, "trials": {}} | (lease.read(paths.sessions) or {"state": "new"})


def session_notes(paths: SweepPaths) -> tuple[str, ...]:
    """What a driver at work says of troubles and waiting; nothing of one that is gone."""
    session = read_session(paths)
    return tuple(session.get("notes", ())) if session["state"] == "running" else ()


def write_session(paths: SweepPaths, document: Mapping[str, Any]) -> None:
    """Makes up what the last driver said, for a sweep that no driver is at work on."""
    paths.sessions.mkdir(parents=True, exist_ok=True)
    with replacing(paths.session) as temporary:
        temporary.write_text(json.dumps(document, indent=1), encoding="utf-8")
