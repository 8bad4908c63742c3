"""Whose a run in MLflow is: where several people mirror into one server, names of sweeps repeat, and ids do not."""

import re
import uuid

from sweeps.errors import SweepError
from sweeps.store.paths import SweepPaths, replacing

SWEEP_ID = "sweep_id"
"""The tag that every run of a sweep has; runs with another one, or without, are somebody else's."""


def read_id(paths: SweepPaths) -> str | None:
    """The id of a sweep; None while it has none, and so no runs.

    Raises:
        SweepError: If the file is damaged.
    """
    try:
        text = paths.sweep_id.read_bytes().strip()
    except FileNotFoundError:
        return None
    if not re.fullmatch(rb"[0-9a-f]{32}", text):  # it goes into searches: nothing else may
        raise SweepError(
            f"{paths.sweep_id}: must hold 32 hexadecimal digits, but does not. Restore it; or delete it, and the sweep "
            "gets new runs in MLflow beside its old ones."
        )
    return text.decode()


def make_id(paths: SweepPaths) -> str:
    """The id of a sweep, made when that is founded, or on first use if it has none.

    Raises:
        SweepError: If the file is damaged.
    """
    found = read_id(paths)
    if found is None:
        found = uuid.uuid4().hex
        with replacing(paths.sweep_id) as temporary:
            temporary.write_text(f"{found}\n", encoding="utf-8")
    return found
