"""The command that writes a sweep's report."""

import webbrowser
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from sweeps.commands.options import Name, Root, err, out
from sweeps.remote.root import fetch
from sweeps.store.paths import SweepPaths, check_name, resolve_root
from sweeps.sweep import space_of


def report(
    name: Name,
    root: Root = None,
    beside: Annotated[
        list[str] | None, typer.Option("--beside", metavar="OTHER", help="Draw another sweep's front as well, up to 3.")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write the report of a sweep, one HTML file that works offline: ROOT/NAME/report.html.

    Example: sweeps report fcn_digits --open
    """
    from sweeps.report import document as pages

    paths = fetch(SweepPaths(resolve_root(root), name))
    for other in beside or []:
        fetch(SweepPaths(paths.root, check_name(other, what="--beside")), summary=True)
    file = pages.write(
        paths, space_of(paths), beside=beside or [], draw_mask=_draw_mask if find_spec("torch") else None
    )
    out.print(str(file), soft_wrap=True)
    if show and not webbrowser.open(file.as_uri()):
        err.print(f"no browser could be started: open {file} yourself", soft_wrap=True)


def _draw_mask(paths: SweepPaths, trial: int) -> Path:
    from sweeps.figures.kept_mask import draw  # PyTorch takes seconds to import, and a drawn mask stays

    return draw(paths, trial)
