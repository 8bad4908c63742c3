"""Summary that a session prints when it ends."""

from rich.console import Console

from search_spaces.space import SearchSpace
from sweeps import pareto
from sweeps.analysis.front_rows import front_rows
from sweeps.analysis.recommendation import line, recommend
from sweeps.commands.options import print_json
from sweeps.display import front
from sweeps.display.panel import duration
from sweeps.driver.options import Options
from sweeps.networks import with_trials
from sweeps.run import Outcome
from sweeps.store.paths import SweepPaths
from sweeps.stored import StoredSweep
from sweeps.tracking.mlflow_store import default_uri, redact, uri_option


def conclude(
    outcome: Outcome, space: SearchSpace, options: Options, out: Console, err: Console, *, as_json: bool = False
) -> int:
    """Prints the front to `out` and all else to `err`.

    Returns:
        The exit code: 0 when trials finished, 1 when none did, 130 when the session was interrupted.
    """
    paths = SweepPaths(options.root, space.name)
    root = paths.root_option
    mirror = redact(options.tracking_uri or default_uri(paths.root))
    where = f"{root}{uri_option(options.tracking_uri)}"
    if outcome.counts["finished"]:
        _show_front(StoredSweep(paths, space), out, err, as_json=as_json)
    counts = ", ".join(f"{count} {state}" for state, count in outcome.counts.items() if count)
    _say(err, f"trials:   {counts}; {duration(outcome.seconds)}")
    for reason, count in outcome.reasons.items():
        _say(err, f"failed:   {count} x {reason}")
    _say(err, f"results:  {paths.shown}")
    _say(err, f"MLflow:   {mirror}")
    _say(err, f"          open it with: sweeps ui {space.name}{where}")
    if outcome.unmirrored:
        _say(
            err,
            f"          {outcome.unmirrored} rows are missing there; add them: sweeps mlflow-sync {space.name}{where}",
        )
    if outcome.state == "interrupted":
        _say(err, f"interrupted; what was finished is kept. Go on with: sweeps resume {space.name}{root}")
        return 130
    if not outcome.counts["finished"]:
        _say(err, f"no trial finished: {outcome.counts['failed']} failed, see the reasons above.", style="red")
        return 1
    return 0


def _show_front(sweep: StoredSweep, out: Console, err: Console, *, as_json: bool) -> None:
    paths, space, trials, networks = sweep.paths, sweep.space, sweep.trials(running=True), sweep.candidates()
    rows = front_rows(with_trials(pareto.front_of(networks, space), trials), space)
    if as_json:
        print_json(front.records(rows))
    else:
        out.print(front.table(rows))
    if not rows.rows:
        nothing = pareto.why_empty(space.constraints)
        _say(err, f"{nothing}. See what there is: sweeps report {space.name}{paths.root_option}")
    _say(err, f"picture:  {paths.front_png}")
    if paths.report.exists():
        _say(err, f"report:   {paths.report}")
    if found := recommend(networks, trials, space, sweep.confirmations()):
        _say(err, line(found, paths.root_option))


def _say(err: Console, text: str, style: str | None = None) -> None:
    err.print(text, style=style, markup=False, soft_wrap=True)
