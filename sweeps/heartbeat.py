"""The session file: what the running or last driver of a sweep says of itself."""

import json
import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sweeps.paths import SweepPaths, replacing

STALE_SECONDS = 60.0
"""Age of the session file from which a driver on another host counts as dead."""


def write_session(paths: SweepPaths, document: Mapping[str, Any]) -> None:
    """Replaces the session file."""
    with replacing(paths.session) as temporary:
        temporary.write_text(json.dumps(document, indent=1), encoding="utf-8")


def read_session(paths: SweepPaths) -> dict[str, Any]:
    """The session file of a sweep; `state` is `died` when its driver is gone without a word.

    Returns:
        The document, or `{"state": "new"}` when no session has run.
    """
    try:
        document = json.loads(paths.session.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"state": "new", "seconds": 0.0, "trials": {}}
    if document["state"] == "running" and not _alive(document):
        document["state"] = "died"
    return document


def _alive(document: Mapping[str, Any]) -> bool:
    if document["host"] == socket.gethostname():
        try:
            os.kill(document["pid"], 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True
    age = datetime.now(UTC) - datetime.fromisoformat(document["updated"])
    return age.total_seconds() < STALE_SECONDS
