"""The command line: arguments in, one call out. Results go to stdout, everything else to stderr."""

import logging
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from search_spaces.space import SearchSpace, SpaceError
from supermask.config import ConfigError
from sweeps.arguments import load_space, options_of, overrides_of, space_of
from sweeps.compare_command import compare
from sweeps.doctor_command import doctor
from sweeps.errors import SweepError
from sweeps.network_commands import export, layers, train
from sweeps.options import Address, AsJson, Data, Download, Name, Root, Storage, Uri, err, out, print_json
from sweeps.paths import SweepPaths, check_name, resolve_root
from sweeps.report_command import report
from sweeps.result_commands import list_sweeps, pareto, status, verify
from sweeps.storage import resolve_storage

if TYPE_CHECKING:
    from sweeps.plan import Options
    from sweeps.run import Outcome

app = typer.Typer(
    help="Sweeps of signed supermask networks: accuracy against remaining weights.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
Packs = Annotated[int | None, typer.Option("--packs", min=1, help="Packs at a time, e.g. of a cluster that grows.")]
Lanes = Annotated[str, typer.Option("--lanes", help="Trials fused into one pack, or auto.")]
Gpus = Annotated[float | None, typer.Option("--gpus-per-pack", help="GPUs of a pack, e.g. 1 or 0.25.")]
Cpus = Annotated[int | None, typer.Option("--cpus-per-pack", help="CPU cores of a pack.")]


@app.command()
def run(
    space: Annotated[str, typer.Argument(help="A search space: YAML file, or the name of a shipped one.")],
    name: Annotated[str | None, typer.Option("--name", help="Name of the sweep [the space's name].")] = None,
    root: Root = None,
    trials: Annotated[int | None, typer.Option("--trials", help="Trials to run [the space's budget].")] = None,
    lanes: Lanes = "auto",
    gpus_per_pack: Gpus = None,
    cpus_per_pack: Cpus = None,
    packs: Packs = None,
    address: Address = None,
    tracking_uri: Uri = None,
    storage: Storage = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of sampler and trials [0].")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change the space.")] = None,
    data: Data = None,
    download: Download = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run, start nothing.")] = False,
) -> None:
    """Run a new sweep.

    Example: sweeps run fcn_digits --trials 40 --set fixed.epochs=20
    """
    overrides = overrides_of(changes or [], name=name, trials=trials, seed=seed)
    found = load_space(space, overrides)
    check_name(found.name)
    options = options_of(
        root=root,
        lanes=lanes,
        gpus_per_pack=gpus_per_pack,
        cpus_per_pack=cpus_per_pack,
        packs=packs,
        address=address,
        tracking_uri=tracking_uri,
        data=data,
        download=download,
        storage=resolve_storage(storage),
    )
    if dry_run:
        from sweeps.preview import preview

        preview(found, options, out)
        return
    from sweeps.run import run as start

    _conclude(start(found, options, err), found, options)


@app.command()
def resume(
    name: Name,
    root: Root = None,
    trials: Annotated[str | None, typer.Option("--trials", help="New budget, or +N more.")] = None,
    lanes: Lanes = "auto",
    gpus_per_pack: Gpus = None,
    cpus_per_pack: Cpus = None,
    packs: Packs = None,
    address: Address = None,
    tracking_uri: Uri = None,
    data: Data = None,
    download: Download = False,
) -> None:
    """Go on with a sweep that was cut off, or extend it.

    Example: sweeps resume fcn_digits --trials +20
    """
    options = options_of(
        root=root,
        lanes=lanes,
        gpus_per_pack=gpus_per_pack,
        cpus_per_pack=cpus_per_pack,
        packs=packs,
        address=address,
        tracking_uri=tracking_uri,
        data=data,
        download=download,
    )
    paths = SweepPaths(options.root, name)
    from sweeps.plan import extend
    from sweeps.run import resume as go_on

    space = extend(space_of(paths), trials)
    _conclude(go_on(space, options, err), space, options)


@app.command()
def confirm(
    name: Name,
    select: Annotated[
        str,
        typer.Option(
            "--select",
            help="front, knee (of the front: the trial farthest from the line between its ends), "
            "best:accuracy>=X (fewest weights), best:remaining<=X (best accuracy), or trial numbers like 3,17.",
        ),
    ] = "front",
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=10_000, help="Fresh seeds for each trial.")] = 10,
    root: Root = None,
    lanes: Lanes = "auto",
    gpus_per_pack: Gpus = None,
    cpus_per_pack: Cpus = None,
    packs: Packs = None,
    address: Address = None,
    tracking_uri: Uri = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Train chosen trials again with fresh seeds: mean, standard deviation and 95 % Student t interval on the test set.

    Trials are chosen by their validation metrics. What is trained already is not trained again: the same command goes
    on after Ctrl-C, and more --seeds adds the missing ones. A seed draws weights and initial scores, not the order of
    the batches; the intervals cover what it draws.

    Example: sweeps confirm fcn_digits --select knee --seeds 10
    """
    options = options_of(
        root=root,
        lanes=lanes,
        gpus_per_pack=gpus_per_pack,
        cpus_per_pack=cpus_per_pack,
        packs=packs,
        address=address,
        tracking_uri=tracking_uri,
        data=data,
        download=False,
    )
    paths = SweepPaths(options.root, name)
    space = space_of(paths)
    from sweeps import confirmed
    from sweeps.confirm import confirm as train_again

    found = train_again(paths, space, options, err, select=select, seeds=seeds)
    if as_json:
        print_json(confirmed.records(found))
    else:
        out.print(confirmed.table(found, name))
    confirmed.conclude(found, paths, err)


@app.command("mlflow-sync")
def mlflow_sync(name: Name, root: Root = None, tracking_uri: Uri = None) -> None:
    """Rebuild the mirror of a sweep in MLflow from its Parquet files; repeating it changes nothing.

    Example: sweeps mlflow-sync fcn_digits --tracking-uri http://127.0.0.1:5000
    """
    from sweeps import confirmations, confirmed, results, tracking
    from sweeps.heartbeat import read_session
    from sweeps.overview import overview

    paths = SweepPaths(resolve_root(root), name)
    whole = overview(paths, space_of(paths))
    epochs: dict[int, list[dict[str, Any]]] = {}
    for row in results.load_epochs(paths.root, name, latest_attempt=False).to_pylist():
        epochs.setdefault(row["trial"], []).append(row)
    uri = tracking_uri or tracking.default_uri(paths.root)
    trials = results.load(paths.root, name).to_pylist()
    state = read_session(paths)["state"]
    changed = tracking.sync(uri, name, root=paths.root, trials=trials, epochs=epochs, state=state, overview=whole)
    rows = confirmed.by_trial(confirmations.load(paths.confirm).to_pylist())
    added, _ = tracking.send_confirmations(uri, name, root=paths.root, confirmations=rows)
    out.print(f"{len(trials)} trials, {changed + added} runs changed in {tracking.redact(uri)}", soft_wrap=True)


@app.command()
def ui(
    name: Name,
    root: Root = None,
    tracking_uri: Uri = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port on 127.0.0.1.")] = 5000,
) -> None:
    """Start MLflow's page on the sweep's store and print its address; stop it with Ctrl-C.

    Example: sweeps ui fcn_digits
    """
    from sweeps import page, tracking

    paths = SweepPaths(resolve_root(root), name)
    space_of(paths)
    uri = tracking_uri or tracking.default_uri(paths.root)
    err.print("starting MLflow's page, about 10 s; stop it with Ctrl-C", soft_wrap=True)
    page.serve(uri, name, root=paths.root, port=port, say=_say_addresses)


def _say_addresses(addresses: dict[str, str]) -> None:
    for what, address in addresses.items():
        out.print(f"{what + ':':15}{address}", soft_wrap=True)


app.command("list")(list_sweeps)
app.command()(status)
app.command()(pareto)
app.command()(compare)
app.command()(report)
app.command()(verify)
app.command()(train)
app.command()(layers)
app.command()(export)
app.command()(doctor)


def main() -> None:
    """Entry point: turns our exceptions into one message and an exit code."""
    warnings_only = logging.StreamHandler(sys.stderr)
    warnings_only.setLevel(logging.WARNING)
    logging.basicConfig(format="%(message)s", handlers=[warnings_only])
    # A batch system's end is a Ctrl-C, and a shell starts background jobs with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        app()
    except (ConfigError, SpaceError) as error:
        _fail(str(error), 2)
    except SweepError as error:
        _fail(error.message, error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", 130)


def _fail(message: str, code: int) -> None:
    err.print(message, style="red", markup=False, soft_wrap=True)
    sys.exit(code)


def _conclude(outcome: "Outcome", space: SearchSpace, options: "Options") -> None:
    """Says how a session ended and where its results lie."""
    from sweeps.conclusion import conclude

    code = conclude(outcome, space, options, out, err)
    if code:
        raise typer.Exit(code)


if __name__ == "__main__":
    main()
