"""The command that checks the environment of a sweep."""

from dataclasses import asdict

import typer
from rich.markup import escape

from sweeps.commands.options import Address, AsJson, Data, Root, Storage, Uri, out, print_json
from sweeps.search.study_place import resolve_storage
from sweeps.store.paths import resolve_root

_COLOURS = {"ok": "green", "warning": "yellow", "fault": "red"}


def doctor(
    address: Address = None,
    root: Root = None,
    tracking_uri: Uri = None,
    storage: Storage = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Check the environment before a sweep runs: one line per check, with its remedy; exit code 1 on any fault.

    Example: sweeps doctor --address auto
    """
    from sweeps.doctor import examine

    findings = examine(
        root=resolve_root(root),
        address=address,
        tracking_uri=tracking_uri,
        storage=resolve_storage(storage),
        data=data,
    )
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            word = f"[{_COLOURS[finding.state]}]{finding.state:<8}[/]"
            remedy = f" {finding.remedy}" if finding.remedy else ""
            out.print(f"{word} {finding.check:<9} {escape(finding.found)}.{escape(remedy)}", soft_wrap=True)
    if any(finding.state == "fault" for finding in findings):
        raise typer.Exit(1)
