"""How many lanes a pack should have: the fewest that are about as fast as can be, by measurements that are kept."""

import json
import math
import platform
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from search_spaces.space import SearchSpace
from supermask.config import STRUCTURAL, TrainConfig
from supermask.data import Dataset
from supermask.probe import excerpt, seconds_per_lane_step
from supermask.program import compiler_present, earns_compiling
from sweeps.driver.executor import Executor
from sweeps.driver.plan import PackPlan, most_useful
from sweeps.search.sampling import sample
from sweeps.store.cache import cache_folder
from sweeps.store.paths import replacing
from sweeps.worker.device import device_of

BESIDE = 8
"""Most packs that are measured side by side."""
NEAR = 1.05
"""Fewer lanes are worth so much of the time of a lane-step: the sampler learns more often."""
SLOWER = 1.25
"""Larger packs are not tried any more when one took so many times the best: less may be a neighbour's doing."""
GROWTH = 4
"""Ratio of two sizes that are measured."""

Times = dict[int, float]
"""Seconds of a lane-step by the lanes of a pack; infinite where it does not fit into memory."""


def measured(space: SearchSpace, plan: PackPlan, datasets: Mapping[str, Dataset], executor: Executor) -> PackPlan:
    """The plan with as many lanes as measurements on the devices of an executor advise.

    Packs that will train side by side are measured side by side: on a CPU they share its memory's bandwidth.
    """
    config = sample(space, 1)[0]
    whole, beside = datasets[config.dataset], min(plan.concurrent, BESIDE)
    data, compiled = excerpt(whole, config, "cuda" if plan.gpus else "cpu"), earns_compiling(config, whole)
    (place,) = executor.call(_device, plan=plan) or [None]
    if place is None:
        return plan
    structure = dict(zip(STRUCTURAL, config.structure(), strict=True)) | {"epochs": None}
    key = f"{place}, {plan.cpus} cores and {plan.gpus:g} GPUs a pack, {beside} beside each other, "
    key += f"{'compiled' if compiled else 'eager'}, {structure}"

    def measure(lanes: int) -> float | None:
        found = executor.call(_probe, config, data.to_arrays(), lanes, plan, compiled, plan=plan, beside=beside)
        times = [seconds for seconds in found or [None] if seconds is not None]
        return max(times) if found and len(times) == len(found) else None

    most, known = most_useful(space, plan), recall(key)
    times = grow(measure, most, known)
    if times != known:
        remember(key, times)
    fitting = {count: seconds for count, seconds in times.items() if math.isfinite(seconds)}
    usable = {count: seconds for count, seconds in fitting.items() if count <= most}
    if not usable:
        return plan
    speeds = ", ".join(f"{1e3 * seconds:.3g} ms with {count}" for count, seconds in fitting.items())
    when = "measured earlier" if times == known else "measured now"
    return replace(plan, lanes=fewest(usable), reason=f"{when} in {cache()}: a lane-step takes {speeds}")


def _device() -> str:
    """What packs train on here, well enough to know the same again."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    return f"{'/'.join(models) or platform.processor() or platform.machine()}, torch {torch.__version__}"


def _probe(config: TrainConfig, arrays: dict[str, Any], lanes: int, plan: PackPlan, compiled: bool) -> float | None:
    device = device_of(plan.gpus)
    compiled = compiled and compiler_present(device)
    data = Dataset.from_arrays(arrays)
    return seconds_per_lane_step(config, data, device, lanes=lanes, threads=plan.cpus, compiled=compiled)


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
