"""How often a pack's state is worth keeping on disk."""

LEAST_SECONDS = 30.0
"""Training that is never worth a checkpoint: it is done again sooner than one would notice."""
WORTH = 25.0
"""Training per time of a checkpoint, at least: so that all of them take at most 1/25, 4 %, of it."""
FIRST_GUESS = 1e8
"""Bytes per second, from worker to disk, until one checkpoint was measured."""


class Cadence:
    """When the next checkpoint of a worker's packs is due.

    A pack is trained for at least `WORTH` times as long as its state is expected to take from the device to the disk,
    and for at least `LEAST_SECONDS`; what is expected is what the last checkpoint of this worker took for each byte. So
    short trials pay nothing, and what a crash can cost follows from how fast the disk is: with states of 100 MB at 100
    MB/s, half a minute of training.

    Args:
        every_seconds: Training between two checkpoints instead of all that; None chooses as said.
    """

    def __init__(self, every_seconds: float | None = None) -> None:
        self._every_seconds = every_seconds
        self._bytes_per_second = FIRST_GUESS
        self._trained = 0.0

    def begin(self) -> None:
        """A pack starts; what it goes on from is kept already, or nothing is lost with it."""
        self._trained = 0.0

    def train(self, seconds: float) -> None:
        """The pack was trained for so long."""
        self._trained += seconds

    def is_due(self, size_bytes: int) -> bool:
        """Whether a state of this size is worth keeping now."""
        if self._every_seconds is not None:
            return self._trained >= self._every_seconds
        return self._trained >= max(LEAST_SECONDS, WORTH * size_bytes / self._bytes_per_second)

    def keep(self, size_bytes: int, seconds: float) -> None:
        """A state was kept, in so many seconds."""
        self._bytes_per_second = size_bytes / max(seconds, 1e-6)
        self._trained = 0.0
