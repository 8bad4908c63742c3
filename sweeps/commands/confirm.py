"""`confirm`: chosen networks again, with fresh seeds."""

from typing import Annotated

import typer

from sweeps.commands.options import (
    Address,
    AsJson,
    Cpus,
    Data,
    Gpus,
    InProcess,
    Lanes,
    Name,
    Packs,
    Root,
    Uri,
    err,
    out,
    print_json,
    say,
)
from sweeps.driver.options import options_of, or_remembered
from sweeps.remote.root import fetch, sending
from sweeps.store.paths import SweepPaths, resolve_root
from sweeps.stored import StoredSweep


def confirm(
    name: Name,
    select: Annotated[
        str,
        typer.Option(
            "--select",
            help="front, knee (of the front: the network farthest from the line between its ends), "
            "best:accuracy>=X (fewest weights), best:remaining<=X (best accuracy), or networks like 3@20,17: "
            "TRIAL@EPOCH, or TRIAL for its network on the front, else its last one.",
        ),
    ] = "front",
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=10_000, help="Fresh seeds for each network.")] = 10,
    root: Root = None,
    lanes: Lanes = "auto",
    gpus_per_pack: Gpus = None,
    cpus_per_pack: Cpus = None,
    packs: Packs = None,
    address: Address = None,
    in_process: InProcess = False,
    tracking_uri: Uri = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Train chosen networks again with fresh seeds: mean, standard deviation and 95 % Student t interval, test set.

    Networks are chosen by their estimates on the validation part. One training gives all chosen networks of a trial.
    What is trained already is not trained again: the same command goes on after Ctrl-C, and more --seeds adds the
    missing ones. --data and --tracking-uri are those of the sweep, if left out. A seed draws weights and initial
    scores, not the order of the batches; the intervals cover what it draws.

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
        in_process=in_process,
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
