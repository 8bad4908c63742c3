"""Estimates the remaining time of a running sweep from its pace."""

from collections.abc import Mapping, Sequence

from sweeps.display.panel import PackView


class TimeLeft:
    """The pace of a session since all its packs were at work.

    What a session does before that, starting processes and compiling, is paid once and says nothing of the pace. Packs
    report a whole epoch at a time, so nothing is said before each of the first ones has reported once more. Packs that
    are over before the last of them has begun are at work, too.
    """

    def __init__(self) -> None:
        """Starts without an estimate."""
        self._ended: int | None = None
        self._since: tuple[float, float] | None = None
        self._first: Mapping[int, int] = {}

    def estimate(self, now: float, *, budget: int, ended: int, packs: Sequence[PackView]) -> float | None:
        """Seconds to the end of the sweep.

        Args:
            now: Seconds by any clock that only goes forward.
            budget: Trials of the sweep in all.
            ended: Those that have ended.
            packs: In training; only packs whose place is known have reported.

        Returns:
            None while there is no pace to judge by.
        """
        done = ended + sum(pack.lanes * pack.epoch / pack.epochs for pack in packs)
        self._ended = ended if self._ended is None else self._ended
        if self._since is None:
            if ended > self._ended or (packs and all(pack.place and pack.epoch for pack in packs)):
                self._since, self._first = (now, done), {pack.number: pack.epoch for pack in packs}
            return None
        if any(self._first.get(pack.number) == pack.epoch for pack in packs):
            return None
        began, before = self._since
        self._first = {}
        return max(0.0, budget - done) / (done - before) * (now - began) if done > before else None
