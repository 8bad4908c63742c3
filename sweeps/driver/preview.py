"""A dry run: the space, a look at its trials, the packs, and what they will cost."""

from dataclasses import asdict, dataclass
from typing import Any

import yaml
from rich.console import Console

from search_spaces.designs import check_budget, design_of, grid_size
from search_spaces.space import SearchSpace
from supermask.config import TrainConfig
from sweeps.display.fitting_table import Column, FittingTable
from sweeps.display.panel import duration
from sweeps.driver.options import Options
from sweeps.driver.plan import Estimate, PackPlan, estimate, load_datasets, local_resources, plan_packs, worth_measuring
from sweeps.search.sampling import sample
from sweeps.search.warm_start import WarmStart, collect

SAMPLES = 10


@dataclass(frozen=True)
class Preview:
    """What a run would do here.

    Attributes:
        space: What it would try.
        learned: What its sampler would know of another sweep.
        samples: Random trials of it, or the first ones of a grid or a sequence.
        plan: How they would be packed.
        measured_first: Whether it would begin by measuring how many lanes are best, so that the plan is a guess.
        estimate: What it would take.
    """

    space: SearchSpace
    learned: WarmStart | None
    samples: list[TrainConfig]
    plan: PackPlan
    measured_first: bool
    estimate: Estimate


def look(space: SearchSpace, options: Options) -> Preview:
    """Trains a few steps of one pack to measure their time, and keeps nothing.

    Raises:
        ConfigError: If a dataset is missing or does not fit.
        SweepError: If there is nothing to learn where a warm start is asked for, or less here than a pack asks for.
    """
    check_budget(space)
    datasets = load_datasets(space, options)
    learned = collect(options.root, options.warm_start, space) if options.warm_start else None
    plan = plan_packs(space, options, local_resources(), datasets)
    first = not options.lanes and worth_measuring(space, plan, datasets)
    return Preview(
        space, learned, sample(space, min(SAMPLES, space.trials)), plan, first, estimate(space, plan, datasets)
    )


def record(found: Preview) -> dict[str, Any]:
    """It for other programs."""
    size = grid_size(found.space)
    return ({"grid_size": size} if size else {}) | {
        "space": yaml.safe_load(found.space.to_yaml()),
        "samples": [config.to_dict() for config in found.samples],
        "plan": asdict(found.plan),
        "measured_first": found.measured_first,
        "estimate": asdict(found.estimate),
    }


def show(found: Preview, out: Console) -> None:
    """Prints it."""
    space, plan, costs = found.space, found.plan, found.estimate
    out.print(space.to_yaml(), markup=False, soft_wrap=True)
    out.print(_samples(found))
    if found.learned:
        _say(out, str(found.learned))
    if size := grid_size(space):
        _say(out, f"grid:     {size:,} combinations")
    packs = -(-space.trials // plan.lanes)
    _say(out, f"packs:    {packs} of up to {plan.lanes} lanes ({plan.reason})")
    _say(out, f"          {plan.concurrent} at a time, {plan.cpus} CPU cores and {plan.gpus:g} GPUs each")
    if found.measured_first:
        _say(out, "          a sweep of this length begins by measuring how many lanes are best; this is the guess")
    once, how = ("starting and compiling", "compiled") if costs.compiled else ("starting", "eager")
    _say(
        out,
        f"time:     about {duration(costs.seconds)} on this machine, {once} included "
        f"({1000 * costs.seconds_per_lane_step:.2f} ms a lane and step, {how}, measured now)",
    )
    _say(out, f"memory:   about {costs.pack_bytes / 2**20:,.0f} MiB a pack, data included")
    _say(out, "dry run: nothing was started or written")


def _samples(found: Preview) -> FittingTable:
    columns = []
    for name in found.space.parameters:
        values = (getattr(config, name) for config in found.samples)
        texts = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in values]
        columns.append(Column(name.replace("_", " "), texts, rank=1))
    kind = "first" if design_of(found.space) else "random"
    return FittingTable(columns, title=f"{len(found.samples)} {kind} trials")


def _say(out: Console, text: str) -> None:
    out.print(text, markup=False, soft_wrap=True)
