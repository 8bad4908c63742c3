"""The command that compares two sweeps."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands.options import AsJson, Root, complete_sweep, err, out, print_json
from sweeps.stored import StoredSweep

if TYPE_CHECKING:
    from rich.table import Table

    from sweeps.analysis.comparison import Comparison, Range


def compare(
    one: Annotated[str, typer.Argument(metavar="A", help="Name of a sweep.", autocompletion=complete_sweep)],
    other: Annotated[str, typer.Argument(metavar="B", help="Name of another.", autocompletion=complete_sweep)],
    root: Root = None,
    resamples: Annotated[int, typer.Option("--resamples", min=1, help="Number of bootstrap resamples.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """Compare the fronts of two sweeps: hypervolumes, a 95 % interval of their difference, and who is better where.

    Draws both fronts as ROOT/A/compared-B.png.

    Example: sweeps compare fcn_digits fcn_digits_dense
    """
    from sweeps import pareto
    from sweeps.analysis import comparison
    from sweeps.figures import drawing, paper

    sides = [StoredSweep.open(root, name, summary=True) for name in (one, other)]
    comparison.check_objectives((one, other), (sides[0].space, sides[1].space))
    objectives = sides[0].objectives
    first, second = (side.networks() for side in sides)
    found = comparison.compare(first, second, objectives, resamples=resamples)
    if as_json:
        print_json({"names": [one, other], **asdict(found)})
    else:
        out.print(table(found, one, other, objectives.directions))
    trials = sides[0].trials({*comparison.CONDITIONS}), sides[1].trials({*comparison.CONDITIONS})
    for note in comparison.notes(found, (one, other), (first, second), trials, objectives):
        err.print(note, soft_wrap=True)
    fronts = {name: pareto.front(table, objectives) for name, table in ((one, first), (other, second))}
    picture = sides[0].paths.folder / f"compared-{other}.png"
    drawing.save(paper.fronts_figure(fronts, objectives.directions), picture)
    err.print(f"picture: {picture}", soft_wrap=True)


def table(found: "Comparison", one: str, other: str, objectives: Mapping[str, str]) -> "Table":
    """A comparison as a table for a terminal."""
    from rich import box
    from rich.table import Table

    from sweeps.objectives import FRACTIONS

    names = {"one": one, "other": other, "neither": "neither"}
    title = (
        f"hypervolume: {one} {found.volumes[0]:.4f}, {other} {found.volumes[1]:.4f}; difference "
        f"{found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}] (95 % bootstrap interval over trials)"
    )
    shown = Table(title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD)
    percent = any(metric in FRACTIONS for metric in objectives if metric != "remaining")
    unit = " (points)" if percent else ""
    for heading in ("remaining %, from", "to", "better", f"by, mean{unit}", f"by, at most{unit}"):
        shown.add_column(heading, justify="left" if heading == "better" else "right")
    for part in found.where:
        shown.add_row(
            f"{100 * part.low:.2f}", f"{100 * part.high:.2f}", names[part.better], *_gain(part, percent=percent)
        )
    return shown


def _gain(part: "Range", *, percent: bool) -> tuple[str, str]:
    if part.gain is None or part.most is None:
        return "alone", "alone"
    return (f"{100 * part.gain:.2f}", f"{100 * part.most:.2f}") if percent else (f"{part.gain:.4g}", f"{part.most:.4g}")
