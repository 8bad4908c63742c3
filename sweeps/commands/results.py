"""The commands that read the results of a sweep: list, status, pareto, verify."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from search_spaces.errors import SpaceError
from sweeps.commands.options import AsJson, Name, Root, SameUri, err, out, print_json, say
from sweeps.driver.options import or_remembered
from sweeps.errors import SweepError
from sweeps.remote.root import fetch, fetch_summaries
from sweeps.store.cache import shown
from sweeps.store.paths import SweepPaths, resolve_root, sweep_names
from sweeps.stored import StoredSweep


def list_sweeps(root: Root = None, as_json: AsJson = False) -> None:
    """List the sweeps of a root.

    Example: sweeps list
    """
    from sweeps.display.status import status as look

    folder = resolve_root(root)
    fetch_summaries(folder)
    rows, budgets, damaged = list[dict[str, Any]](), list[int](), list[str]()
    for name in sweep_names(folder):
        try:
            sweep = StoredSweep.at(SweepPaths(folder, name))
            rows.append(look(sweep))
        except (SweepError, SpaceError) as error:  # of one sweep: the others are there
            err.print(f"{name}: left out: {error}", style="yellow", markup=False, soft_wrap=True)
            damaged.append(name)
        else:
            budgets.append(sweep.space.trials)
    if as_json:
        print_json(rows)
        return
    if not rows:
        start = f"no sweeps in {shown(folder)}. Start one: sweeps run fcn_digits"
        none = f"no sweep in {shown(folder)} can be read, see above: {', '.join(damaged)}"
        err.print(none if damaged else start, soft_wrap=True)
        return
    from sweeps.display.status import table

    out.print(table(rows, budgets))


def status(
    name: Name,
    root: Root = None,
    as_json: AsJson = False,
    until_end: Annotated[bool, typer.Option("--watch", help="Follow the sweep until it ends.")] = False,
) -> None:
    """Show the status of a sweep, read from its files; works from another terminal or machine while it runs.

    With --watch --json it writes a line of JSON whenever something has changed.

    Example: sweeps status fcn_digits --watch
    """
    from sweeps.display import watch
    from sweeps.display.status import status as look
    from sweeps.display.status import table
    from sweeps.store.lease import session_notes

    def find() -> StoredSweep:
        return StoredSweep.open(root, name, summary=True)

    if as_json and until_end:
        watch.watch_as_json(find, sys.stdout)
        return
    sweep = find()
    row = watch.watch(find, err) if until_end else look(sweep)
    if as_json:
        print_json(row)
    else:
        out.print(table([row], [sweep.space.trials]))
        for note in session_notes(sweep.paths):
            say(note)


def pareto(
    name: Name,
    root: Root = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_latex: Annotated[bool, typer.Option("--latex", help="Print a LaTeX table (booktabs).")] = False,
    minimum: Annotated[
        list[str] | None, typer.Option("--min", metavar="METRIC=X", help="Lower bound of a metric.")
    ] = None,
    maximum: Annotated[
        list[str] | None, typer.Option("--max", metavar="METRIC=X", help="Upper bound of a metric.")
    ] = None,
    png: Annotated[Path | None, typer.Option("--png", help="Draw a figure for a paper, 3.3 in wide.")] = None,
    svg: Annotated[Path | None, typer.Option("--svg", help="The same as SVG.")] = None,
    pdf: Annotated[Path | None, typer.Option("--pdf", help="The same as PDF, its fonts inside.")] = None,
) -> None:
    """Print the front of a sweep, recommend a network, and draw the front as ROOT/NAME/front.png.

    Example: sweeps pareto fcn_digits --min accuracy=0.9 --max remaining=0.05
    """
    from sweeps import networks, pareto, results
    from sweeps.analysis import recommendation
    from sweeps.analysis.confirmed import SUMMARISED, summarise
    from sweeps.analysis.front_rows import front_rows
    from sweeps.display import front, latex

    if as_json + as_csv + as_latex > 1:
        raise SweepError("--json, --csv, --latex: at most one must be given, but got more. Remove all but one.")
    bounds = [front.parse_bound(text, ">=") for text in minimum or []]
    bounds += [front.parse_bound(text, "<=") for text in maximum or []]
    figures = [
        front.check_figure(path, kind) for kind, path in (("png", png), ("svg", svg), ("pdf", pdf)) if path is not None
    ]
    sweep = StoredSweep.open(root, name, summary=True)
    paths, space, confirmed = sweep.paths, sweep.space, sweep.confirmations()
    trials = sweep.trials({"state", "epochs_done", *results.CONFIG_COLUMNS, "test_accuracy"}, running=True)
    candidates = sweep.candidates(bounds)
    members = pareto.front_of(candidates, space, asked=bounds)
    rows = front_rows(networks.with_trials(members, trials), space)
    if as_json:
        print_json(front.records(rows))
    elif as_csv:
        sys.stdout.write(front.as_csv(rows))
    elif as_latex:
        found = {one.key: one for one in summarise(confirmed.select(SUMMARISED).to_pylist())}
        sys.stdout.write(latex.as_latex(rows, found))
    else:
        out.print(front.table(rows))
    recommended = recommendation.recommend(candidates, trials, space, confirmed, asked=bounds)
    nothing = (
        f"{pareto.why_empty((*space.constraints, *bounds))}. "
        f"See how far the sweep is: sweeps status {name}{paths.root_option}"
    )
    err.print(recommendation.line(recommended, paths.root_option) if recommended else nothing, soft_wrap=True)
    if recommended and not bounds and (ask := recommended.commands.get("ask")):
        err.print(f"the smallest network that is accurate enough: {ask}{paths.root_option}", soft_wrap=True)
    for path in figures:
        front.draw_for_paper(path, space, candidates, members, trials=trials)
        err.print(f"figure: {path}", soft_wrap=True)
    if not front.is_drawn(paths):
        front.draw(sweep, candidates, trials)
    err.print(f"picture: {paths.front_png}", soft_wrap=True)


def verify(name: Name, root: Root = None, tracking_uri: SameUri = None, as_json: AsJson = False) -> None:
    """Compare study, Parquet and MLflow value by value; exit code 1 on any difference.

    Example: sweeps verify fcn_digits
    """
    from sweeps.tracking.mlflow_store import uri_option
    from sweeps.verify import verify as compare

    sweep = StoredSweep.open(root, name, summary=True)
    paths = sweep.paths
    uri = or_remembered(paths, tracking_uri=tracking_uri)["tracking_uri"]
    fetch(paths, mlflow=not uri)
    found = compare(sweep, uri)
    if as_json:
        print_json(found)
    else:
        word = "agree" if found["ok"] else "differ"
        out.print(f"{found['trials']} trials, {found['mlflow_runs']} MLflow runs: study, Parquet and MLflow {word}")
        for difference in found["differences"]:
            out.print(difference, soft_wrap=True)
    if not found["ok"]:
        where = paths.root_option
        say(
            "What study and Parquet lack of each other, and what was cut off: "
            f"sweeps resume {name}{where}; what MLflow lacks: sweeps mlflow-sync {name}{where}{uri_option(uri)}"
        )
        raise typer.Exit(1)
