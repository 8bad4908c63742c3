"""The command that writes a sweep's report."""

import webbrowser
from typing import Annotated

import typer

from sweeps.commands.options import Name, Root, err, out


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
    from sweeps.sweep import Sweep

    file = Sweep.open(root, name).report(beside=beside or [])
    out.print(str(file), soft_wrap=True)
    if show and not webbrowser.open(file.as_uri()):
        err.print(f"no browser could be started: open {file} yourself", soft_wrap=True)
