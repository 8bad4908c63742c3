"""Repetitions of comparable length, all sides in turn."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

_FIRST_STEPS, _FASTEST_GROWTH = 1, 64


class Loop(Protocol):
    """Something that trains."""

    lanes: int

    def steps(self) -> object:
        """Does all its steps once and returns when the device has finished them."""
        ...

    def close(self) -> None:
        """Frees what it holds."""
        ...


@dataclass
class EpochLoop:
    """Times whole epochs of a loop as one step each."""

    lanes: int
    steps: Callable[[], object]
    close: Callable[[], None]


@dataclass
class Contender:
    """One side of a comparison.

    Attributes:
        name: Who it is.
        loop: What trains.
        steps: Steps of one call of the loop.
        calls: Calls of one repetition.
        first_seconds: Time of the very first call: compiling, where there is something to compile.
        rates: Lane-steps per second of each repetition.
    """

    name: str
    loop: Loop
    steps: int
    calls: int
    first_seconds: float
    rates: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Median of the repetitions."""
        return statistics.median(self.rates)

    def repeat(self) -> None:
        """Measures once more."""
        started = time.perf_counter()
        for _ in range(self.calls):
            self.loop.steps()
        elapsed = time.perf_counter() - started
        self.rates.append(self.loop.lanes * self.steps * self.calls / elapsed)


def sized(name: str, make: Callable[[int], Loop], *, most_steps: int, seconds: float) -> Contender:
    """Finds how many steps take about the given time; warm when it returns.

    Args:
        name: Of the contender.
        make: Gives a loop of so many steps.
        most_steps: As many as there are images for.
        seconds: Wanted length of a repetition.
    """
    steps, first_seconds = min(_FIRST_STEPS, most_steps), None
    while True:
        loop = make(steps)
        warming = _seconds(loop)
        first_seconds = warming if first_seconds is None else first_seconds
        elapsed = _seconds(loop)
        if elapsed >= seconds / 2 or steps == most_steps:
            return Contender(name, loop, steps, max(1, round(seconds / elapsed)), first_seconds)
        loop.close()
        del loop  # its memory must not count for the next one
        growth = min(_FASTEST_GROWTH, seconds / elapsed)
        steps = min(most_steps, max(steps + 1, round(steps * growth)))


def in_turn(contenders: Sequence[Contender], *, repeats: int) -> Iterator[Contender]:
    """Repeats all contenders one after the other, again and again; yields each after its repetition."""
    for _ in range(repeats):
        for contender in contenders:
            contender.repeat()
            yield contender


def _seconds(loop: Loop) -> float:
    started = time.perf_counter()
    loop.steps()
    return time.perf_counter() - started
