"""The command line: arguments in, one call out. Results go to stdout, everything else to stderr."""

import errno
import logging
import signal
import sys
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING, Annotated

import typer

from search_spaces.space import SearchSpace, SpaceError
from supermask.config import ConfigError
from sweeps.commands.arguments import complete_space
from sweeps.commands.compare import compare
from sweeps.commands.doctor import doctor
from sweeps.commands.grouped_help import GroupedHelp
from sweeps.commands.mlflow import mlflow_sync, ui
from sweeps.commands.network import export, layers, train
from sweeps.commands.options import Address, AsJson, Data, Download, Name, Root, Storage, Uri, err, out, print_json, say
from sweeps.commands.report import report
from sweeps.commands.results import list_sweeps, pareto, status, verify
from sweeps.commands.space import init
from sweeps.errors import SweepError
from sweeps.remote.root import fetch, sending
from sweeps.search.study_place import resolve_storage
from sweeps.session_options import options_of, or_remembered
from sweeps.store.paths import SweepPaths, check_name, resolve_root
from sweeps.stored import StoredSweep

if TYPE_CHECKING:
    from sweeps.driver.plan import Options
    from sweeps.run import Outcome

_OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)

app = typer.Typer(
    cls=GroupedHelp,
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)
Packs = Annotated[int | None, typer.Option("--packs", min=1, help="Packs at a time, e.g. of a cluster that grows.")]
Lanes = Annotated[str, typer.Option("--lanes", help="Trials fused into one pack, or auto.")]
Gpus = Annotated[float | None, typer.Option("--gpus-per-pack", help="GPUs of a pack, e.g. 1 or 0.25.")]
Cpus = Annotated[int | None, typer.Option("--cpus-per-pack", help="CPU cores of a pack.")]
Checkpoints = Annotated[
    float | None,
    typer.Option("--checkpoint-seconds", help="Training between two checkpoints of a trial [what costs at most 4 %]."),
]


def _say_version(asked: bool) -> None:
    if asked:
        out.print(f"sweeps {version_of('signed-supermask-sweeps')}", highlight=False)
        raise typer.Exit


@app.callback()
def _sweeps(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Sweeps of signed supermask networks: accuracy against remaining weights.

    Example: sweeps init my_space, then sweeps run my_space.yaml
    """


def run(
    space: Annotated[
        str,
        typer.Argument(help="A search space: YAML file, or the name of a shipped one.", autocompletion=complete_space),
    ],
    name: Annotated[str | None, typer.Option("--name", help="Name of the sweep [the space's name].")] = None,
    root: Root = None,
    trials: Annotated[int | None, typer.Option("--trials", help="Trials to run [the space's budget].")] = None,
    lanes: Lanes = "auto",
    gpus_per_pack: Gpus = None,
    cpus_per_pack: Cpus = None,
    packs: Packs = None,
    address: Address = None,
    checkpoint_seconds: Checkpoints = None,
    tracking_uri: Uri = None,
    storage: Storage = None,
    warm_start: Annotated[
        str | None, typer.Option("--warm-start", help="Sweep whose trials the sampler knows.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of sampler and trials [0].")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change the space.")] = None,
    data: Data = None,
    download: Download = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run, start nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a new sweep.

    With --warm-start the sampler learns from the finished trials of another sweep of the root, as far as they lie in
    the new search space; they do not count as trials of the new sweep and are shown nowhere in it.

    Example: sweeps run fcn_digits --trials 40 --set fixed.epochs=20
    """
    from search_spaces import shipped

    found = shipped.find(space, changes or [], {"--name": name, "--trials": trials, "--seed": seed})
    check_name(found.name, what="--name" if found.name == name else "name")
    options = options_of(
        root=root,
        lanes=lanes,
        gpus_per_pack=gpus_per_pack,
        cpus_per_pack=cpus_per_pack,
        packs=packs,
        address=address,
        checkpoint_seconds=checkpoint_seconds,
        tracking_uri=tracking_uri,
        data=data,
        download=download,
        storage=resolve_storage(storage),
        warm_start=warm_start,
    )
    if warm_start:
        fetch(SweepPaths(options.root, check_name(warm_start, what="--warm-start")), summary=True)
    if dry_run:
        from sweeps.driver import preview

        looked = preview.look(found, options)
        if as_json:
            print_json(preview.record(looked))
        else:
            preview.show(looked, out)
        return
    say(f"sweep {found.name}: starting")  # what follows imports for seconds
    from sweeps.run import run as start

    with sending(SweepPaths(options.root, found.name), say, mlflow=not tracking_uri):
        _conclude(start(found, options, err), found, options, as_json=as_json)


def resume(
    name: Name,
    root: Root = None,
    trials: Annotated[str | None, typer.Option("--trials", help="New budget, or +N more.")] = None,
    lanes: Lanes = "auto",
    gpus_per_pack: Gpus = None,
    cpus_per_pack: Cpus = None,
    packs: Packs = None,
    address: Address = None,
    checkpoint_seconds: Checkpoints = None,
    tracking_uri: Uri = None,
    data: Data = None,
    download: Download = False,
    as_json: AsJson = False,
) -> None:
    """Go on with a sweep that was cut off, or extend it.

    Of the last session --data (where that folder is here), --tracking-uri (unless it holds a password), --storage and
    --checkpoint-seconds are remembered. What is about the machine at hand must be given again: --address, --lanes,
    --packs, --gpus-per-pack, --cpus-per-pack and --download.

    Example: sweeps resume fcn_digits --trials +20
    """
    paths = fetch(SweepPaths(resolve_root(root), name))
    options = options_of(
        root=root,
        lanes=lanes,
        gpus_per_pack=gpus_per_pack,
        cpus_per_pack=cpus_per_pack,
        packs=packs,
        address=address,
        download=download,
        **or_remembered(paths, checkpoint_seconds=checkpoint_seconds, tracking_uri=tracking_uri, data=data),
    )
    say(f"sweep {name}: starting")
    from sweeps.driver.plan import extend
    from sweeps.run import resume as go_on

    with sending(paths, say, mlflow=not options.tracking_uri):
        space = extend(StoredSweep.at(paths).space, trials)
        _conclude(go_on(space, options, err), space, options, as_json=as_json)


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
    on after Ctrl-C, and more --seeds adds the missing ones. --data and --tracking-uri are those of the sweep, if left
    out. A seed draws weights and initial scores, not the order of
    the batches; the intervals cover what it draws.

    Example: sweeps confirm fcn_digits --select knee --seeds 10
    """
    paths = fetch(SweepPaths(resolve_root(root), name), summary=True)
    options = options_of(
        root=root,
        lanes=lanes,
        gpus_per_pack=gpus_per_pack,
        cpus_per_pack=cpus_per_pack,
        packs=packs,
        address=address,
        download=False,
        **or_remembered(paths, tracking_uri=tracking_uri, data=data),
    )
    say(f"confirm {name}: starting")
    from sweeps.confirm import confirm as train_again
    from sweeps.display import confirmed

    with sending(paths, say, what="confirm", mlflow=not options.tracking_uri):
        found = train_again(paths, StoredSweep.at(paths).space, options, err, select=select, seeds=seeds)
        if as_json:
            print_json(confirmed.records(found))
        else:
            out.print(confirmed.table(found, name))
        confirmed.conclude(found, paths, err)


for panel, commands in {
    "Run": {"init": init, "doctor": doctor, "run": run, "resume": resume, "train": train},
    "Look": {
        "list": list_sweeps,
        "status": status,
        "pareto": pareto,
        "compare": compare,
        "report": report,
        "layers": layers,
        "ui": ui,
    },
    "Use": {"confirm": confirm, "export": export},
    "Keep": {"verify": verify, "mlflow-sync": mlflow_sync},
}.items():
    for name, command in commands.items():
        app.command(name, rich_help_panel=panel)(command)


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
    except OSError as error:
        if error.errno not in _OF_DISKS:
            raise
        _fail(f"{error.filename or 'disk'}: must be writable, but got: {error}. Make room and try again.", 1)


def _fail(message: str, code: int) -> None:
    err.print(message, style="red", markup=False, soft_wrap=True)
    sys.exit(code)


def _conclude(outcome: "Outcome", space: SearchSpace, options: "Options", *, as_json: bool) -> None:
    """Says how a session ended and where its results lie."""
    from sweeps.commands.conclusion import conclude

    code = conclude(outcome, space, options, out, err, as_json=as_json)
    if code:
        raise typer.Exit(code)


if __name__ == "__main__":
    main()
