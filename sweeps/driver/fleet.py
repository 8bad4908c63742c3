"""Trains a queue of packs on plain Ray actors: nothing is sampled, so there is nothing for Tune to do."""

import logging
import math
import platform
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayError

from search_spaces.space import SearchSpace
from supermask.config import STRUCTURAL, TrainConfig
from supermask.data import Dataset
from supermask.probe import excerpt, seconds_per_lane_step
from supermask.program import compiler_present, earns_compiling
from sweeps.driver import pack_size
from sweeps.driver.plan import PackPlan, most_useful
from sweeps.driver.queue import Lane, PackOrder, TrialQueue
from sweeps.search.sampling import sample
from sweeps.worker.device import device_of
from sweeps.worker.pack_worker import PackWorker

Row = dict[str, Any]

_LOG = logging.getLogger(__name__)

BESIDE = 8
"""Most packs that are measured side by side."""

_NOWHERE: Row = dict.fromkeys(("host", "device", "dtype"))


@dataclass
class _Pack:
    """A pack in training: its actor, lanes that have not ended, where and since when it trains, its last error."""

    order: PackOrder
    actor: Any
    open: dict[int, Lane]
    place: Row = field(default_factory=lambda: _NOWHERE | {"started": datetime.now(UTC)})
    error: str | None = None


def measured(space: SearchSpace, plan: PackPlan, datasets: dict[str, Dataset]) -> PackPlan:
    """The plan with as many lanes as measurements on its devices advise; see `sweeps.driver.pack_size`.

    Packs that will train side by side are measured side by side: on a CPU they share its memory's bandwidth.
    """
    config = sample(space, 1)[0]
    whole, beside = datasets[config.dataset], min(plan.concurrent, BESIDE)
    data, compiled = excerpt(whole, config, "cuda" if plan.gpus else "cpu"), earns_compiling(config, whole)
    remote: Any = ray.remote(num_cpus=plan.cpus, num_gpus=plan.gpus, max_retries=0)
    probe = remote(_probe)
    place: str = ray.get(ray.remote(num_cpus=plan.cpus, num_gpus=plan.gpus)(_device).remote())
    structure = dict(zip(STRUCTURAL, config.structure(), strict=True)) | {"epochs": None}
    key = f"{place}, {plan.cpus} cores and {plan.gpus:g} GPUs a pack, {beside} beside each other, "
    key += f"{'compiled' if compiled else 'eager'}, {structure}"

    def measure(lanes: int) -> float | None:
        try:
            found: list[float | None] = ray.get(
                [probe.remote(config, data.to_arrays(), lanes, plan, compiled=compiled) for _ in range(beside)]
            )
        except RayError as error:  # killed for want of memory
            _LOG.info("a pack of %d lanes could not be measured: %s", lanes, str(error).splitlines()[0])
            return None
        return None if None in found else max(filter(None, found))

    most, known = most_useful(space, plan), pack_size.recall(key)
    times = pack_size.grow(measure, most, known)
    if times != known:
        pack_size.remember(key, times)
    fitting = {count: seconds for count, seconds in times.items() if math.isfinite(seconds)}
    usable = {count: seconds for count, seconds in fitting.items() if count <= most}
    if not usable:
        return plan
    best = pack_size.fewest(usable)
    speeds = ", ".join(f"{1e3 * seconds:.3g} ms with {count}" for count, seconds in fitting.items())
    when = "measured earlier" if times == known else "measured now"
    return replace(plan, lanes=best, reason=f"{when} in {pack_size.cache()}: a lane-step takes {speeds}")


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


def _probe(config: TrainConfig, arrays: Row, lanes: int, plan: PackPlan, *, compiled: bool) -> float | None:
    device = device_of(plan.gpus)
    compiled = compiled and compiler_present(device)
    data = Dataset.from_arrays(arrays)
    return seconds_per_lane_step(config, data, device, lanes=lanes, threads=plan.cpus, compiled=compiled)


def train(queue: TrialQueue, plan: PackPlan, datasets: dict[str, Dataset]) -> Iterator[tuple[int, list[Row]]]:
    """Trains all packs of a queue, as many at a time as planned.

    A pack that breaks, or whose process dies, goes back to the queue, which tries it again in halves and gives a lane
    up that keeps breaking alone; such a lane has ended as `failed` with the reason.

    Args:
        queue: Where packs come from.
        plan: Cores and GPUs of a pack, and how many packs at a time.
        datasets: All that the packs need, by name; they travel to the object store once.

    Yields:
        How many epochs lanes have done since, and rows of lanes that have ended with host, device, dtype and start of
        their pack; see `sweeps.worker.pack_worker.PackWorker`. `trial` is the number that the lane has in the queue.
    """
    arrays = ray.put({name: dataset.to_arrays() for name, dataset in datasets.items()})
    worker: Any = ray.remote(num_cpus=plan.cpus, num_gpus=plan.gpus)(PackWorker)
    idle: list[Any] = []
    running: dict[Any, _Pack] = {}
    while True:
        while len(running) < plan.concurrent and (order := queue.next_pack()):
            actor = idle.pop() if idle else worker.remote(arrays, hang_seconds=plan.hang_seconds)
            actor.take.remote(_order(order, plan))
            running[actor.step.remote()] = _Pack(order, actor, {lane.trial: lane for lane in order.lanes})
        if not running:
            return
        (reference,), _ = ray.wait(list(running), num_returns=1)
        pack = running.pop(reference)
        report = _report(reference, pack)
        yield len(report["epochs"]), _ended(pack, report, queue)
        if report["died"]:
            continue
        if report["done"]:
            idle.append(pack.actor)
        else:
            running[pack.actor.step.remote()] = pack


def _order(order: PackOrder, plan: PackPlan) -> Row:
    # Without objectives any rival beats every lane: nobody wants the masks of these trainings.
    masks = {"objectives": [], "rivals": [[]]}
    place = {"pack": order.number, "cpus": plan.cpus, "gpus": plan.gpus, "slots": order.slots, "epoch": order.epoch}
    return {**place, "lanes": order.to_rows(), **masks}


def _report(reference: Any, pack: _Pack) -> Row:
    """What a pack reports, or that its process died."""
    try:
        report: Row = ray.get(reference)
        pack.error = report["error"]
        return report | {"died": False}
    except RayError as error:
        _LOG.info("pack %d: its worker died: %s", pack.order.number, str(error).splitlines()[0])
        ray.kill(pack.actor)  # it may have raised without dying
        nothing: Row = {"started": [], "epochs": (), "ended": [], "done": True, "died": True, "out_of_memory": False}
        return nothing | {"error": pack.error or f"the worker process died: {type(error).__name__}"}


def _ended(pack: _Pack, report: Row, queue: TrialQueue) -> list[Row]:
    """The lanes that have ended with a report, those that the queue gives up included."""
    for place in report["started"]:
        pack.place = dict(place)
    rows = [pack.place | row for row in report["ended"]]
    for row in rows:
        del pack.open[row["trial"]]
    if report["done"] and pack.open:
        now, too_many = datetime.now(UTC), len(pack.order.lanes) if report["out_of_memory"] else 0
        rows += [
            pack.place
            | {"trial": lane.trial, "attempt": lane.attempt, "state": "failed", "reason": report["error"], "ended": now}
            for lane in queue.lost(list(pack.open.values()), too_many=too_many)
        ]
    return rows
