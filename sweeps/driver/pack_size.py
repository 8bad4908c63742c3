"""How many lanes a pack should have: the fewest that are about as fast as can be, by measurements that are kept."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

from sweeps.store.cache import cache_folder
from sweeps.store.paths import replacing

NEAR = 1.05
"""Fewer lanes are worth so much of the time of a lane-step: the sampler learns more often."""
SLOWER = 1.25
"""Larger packs are not tried any more when one took so many times the best: less may be a neighbour's doing."""
GROWTH = 4
"""Ratio of two sizes that are measured."""

Times = dict[int, float]
"""Seconds of a lane-step by the lanes of a pack; infinite where it does not fit into memory."""


def fewest(times: Mapping[int, float]) -> int:
    """The smallest pack whose lane-steps take at most `NEAR` times those of the best.

    Args:
        times: Seconds of a lane-step, by lanes; at least one.
    """
    best = min(times.values())
    return min(lanes for lanes, seconds in times.items() if seconds <= NEAR * best)


def grow(measure: Callable[[int], float | None], most: int, known: Mapping[int, float] | None = None) -> Times:
    """Measures packs of 1, 4, 16, ... lanes, until they get slower, memory runs out, or `most` is reached.

    Args:
        measure: Gives seconds of a lane-step; None if the pack does not fit.
        most: Largest pack to measure.
        known: What was measured earlier, maybe with a smaller `most`: it is not measured again.

    Returns:
        All that is known now. A pack that does not fit takes infinitely long.
    """
    times = dict(known or {})
    while lanes := _next(times, most):
        seconds = measure(lanes)
        times[lanes] = math.inf if seconds is None else seconds
    return times


def _next(times: Times, most: int) -> int | None:
    if not times:
        return 1
    largest = max(times)
    ends = math.isinf(times[largest]) or times[largest] > SLOWER * min(times.values())
    return None if ends or largest >= most else min(largest * GROWTH, most)


def cache() -> Path:
    """The file of kept measurements: in the folder `SWEEPS_CACHE`, or in the user's own."""
    return cache_folder() / "lanes.json"


def recall(key: str) -> Times | None:
    """What was measured under a key; None if nothing, or if the file cannot be used."""
    found = _read().get(key)
    return {int(lanes): seconds for lanes, seconds in found.items()} if found else None


def remember(key: str, times: Times) -> None:
    """Keeps measurements, unless there is no place for them."""
    try:
        cache().parent.mkdir(parents=True, exist_ok=True)
        with replacing(cache()) as temporary:
            temporary.write_text(json.dumps(_read() | {key: times}, indent=1), encoding="utf-8")
    except OSError:
        return  # measured anew next time


def _read() -> dict[str, dict[str, float]]:
    try:
        document = json.loads(cache().read_text(encoding="utf-8"))
        return {key: {str(int(n)): float(s) for n, s in times.items()} for key, times in document.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
