"""A dry run: the space, a look at its trials, the packs, and what they will cost."""

from rich import box
from rich.console import Console
from rich.table import Table

from search_spaces.space import SearchSpace
from sweeps.display import duration
from sweeps.plan import Options, estimate, load_datasets, local_resources, plan_packs, worth_measuring
from sweeps.sampling import sample

SAMPLES = 10


def preview(space: SearchSpace, options: Options, out: Console) -> None:
    """Prints what a run would do; trains a few steps of one pack to measure their time, and keeps nothing.

    Raises:
        ConfigError: If a dataset is missing or does not fit.
    """
    datasets = load_datasets(space, options)
    out.print(space.to_yaml(), markup=False, soft_wrap=True)
    out.print(_samples(space))
    resources = local_resources()
    plan = plan_packs(space, options, resources, datasets)
    packs = -(-space.trials // plan.lanes)
    _say(out, f"packs:    {packs} of up to {plan.lanes} lanes ({plan.reason})")
    _say(out, f"          {plan.concurrent} at a time, {plan.cpus} CPU cores and {plan.gpus:g} GPUs each")
    if not options.lanes and worth_measuring(space, plan, datasets):
        _say(out, "          a sweep of this length begins by measuring how many lanes are best; this is the guess")
    found = estimate(space, plan, datasets)
    how = "compiled" if found.compiled else "eager"
    _say(
        out,
        f"time:     about {duration(found.seconds)} on this machine "
        f"({1000 * found.seconds_per_lane_step:.2f} ms a lane and step, {how}, measured now)",
    )
    _say(out, f"memory:   about {found.pack_bytes / 2**20:,.0f} MiB a pack, data included")
    _say(out, "dry run: nothing was started or written")


def _samples(space: SearchSpace) -> Table:
    names = list(space.parameters)
    shown = Table(title=f"{SAMPLES} random trials", title_justify="left", header_style="bold", box=box.SIMPLE_HEAD)
    for name in names:
        shown.add_column(name.replace("_", " "), justify="right")
    for config in sample(space, SAMPLES):
        values = (getattr(config, name) for name in names)
        shown.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in values))
    return shown


def _say(out: Console, text: str) -> None:
    out.print(text, markup=False, soft_wrap=True)
