"""The log of a sweep."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from sweeps.store.paths import SweepPaths


@contextmanager
def logged(paths: SweepPaths) -> Iterator[None]:
    """Keeps what the sweep's modules log in the sweep's folder."""
    log = logging.getLogger("sweeps")
    handler = logging.FileHandler(paths.log, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.handleError = lambda record: None  # noqa: ARG005 - of a full disk; Python's own would print a traceback
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.setLevel(before)
        log.removeHandler(handler)
        handler.close()
