"""The one exception of this package, which costs no import."""

from collections.abc import Sequence


class SpaceError(ValueError):
    """A search space cannot be used.

    Attributes:
        faults: Every fault found, one line each; the message is all of them.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = list(faults)

    def __reduce__(self) -> tuple[type["SpaceError"], tuple[list[str]]]:
        """Lets the error cross a process boundary: pickle would pass the joined message."""
        return SpaceError, (self.faults,)
