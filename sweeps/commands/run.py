"""`run` and `resume`: sessions of a sweep."""

from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands.arguments import complete_space
from sweeps.commands.options import (
    Address,
    AsJson,
    Checkpoints,
    Cpus,
    Data,
    Download,
    Gpus,
    InProcess,
    Lanes,
    Name,
    Packs,
    Root,
    Storage,
    Uri,
    err,
    out,
    print_json,
    say,
)
from sweeps.driver.options import options_of, or_remembered
from sweeps.remote.root import fetch, sending
from sweeps.search.study_place import resolve_storage
from sweeps.store.paths import SweepPaths, check_name, resolve_root
from sweeps.stored import StoredSweep

if TYPE_CHECKING:
    from search_spaces.space import SearchSpace
    from sweeps.driver.options import Options
    from sweeps.run import Outcome


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
    in_process: InProcess = False,
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
        in_process=in_process,
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
    in_process: InProcess = False,
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
        in_process=in_process,
        download=download,
        **or_remembered(paths, checkpoint_seconds=checkpoint_seconds, tracking_uri=tracking_uri, data=data),
    )
    say(f"sweep {name}: starting")
    from sweeps.driver.plan import extend
    from sweeps.run import resume as go_on

    with sending(paths, say, mlflow=not options.tracking_uri):
        space = extend(StoredSweep.at(paths).space, trials)
        _conclude(go_on(space, options, err), space, options, as_json=as_json)


def _conclude(outcome: "Outcome", space: "SearchSpace", options: "Options", *, as_json: bool) -> None:
    """Says how a session ended and where its results lie."""
    from sweeps.commands.conclusion import conclude

    code = conclude(outcome, space, options, out, err, as_json=as_json)
    if code:
        raise typer.Exit(code)
