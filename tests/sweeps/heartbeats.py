"""What a driver says of itself while it is at work, said by hand."""

import os
import socket
from datetime import UTC, datetime

from sweeps.store.lease import write_session
from sweeps.store.paths import SweepPaths


def beat(paths: SweepPaths, state: str, *, seconds: float = 61.5, asked: int = 6, running: int = 3) -> None:
    """A sign of life of a driver, which is this process."""
    counts = {"asked": asked, "finished": 0, "stopped": 0, "failed": 0, "running": running, "waiting": 0}
    document = {"name": paths.name, "state": state, "host": socket.gethostname(), "pid": os.getpid()}
    write_session(paths, document | {"updated": datetime.now(UTC).isoformat(), "trials": counts, "seconds": seconds})
