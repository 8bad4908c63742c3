"""Consoles and options that the commands share: results go to stdout, everything else to stderr."""

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console

from sweeps.store.paths import SweepPaths, is_name, resolve_root, sweep_names

out = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True, highlight=False)


def complete_sweep(ctx: typer.Context, incomplete: str) -> list[str]:
    """Completes names of sweeps."""
    return [name for name in sweep_names(resolve_root(ctx.params.get("root"))) if name.startswith(incomplete)]


def complete_network(ctx: typer.Context, incomplete: str) -> list[str]:
    """Completes names of sweeps, then the networks whose masks are kept, as `NAME:TRIAL@EPOCH`."""
    name, colon, _ = incomplete.partition(":")
    if not colon:
        return [f"{name}:" for name in complete_sweep(ctx, incomplete)]
    if not is_name(name):
        return []
    from sweeps.objectives import network_name  # imports NumPy, which no other command needs so early

    kept = SweepPaths(resolve_root(ctx.params.get("root")), name).kept_networks()
    return [text for key in kept if (text := f"{name}:{network_name(key)}").startswith(incomplete)]


def complete_sweep_or_network(ctx: typer.Context, incomplete: str) -> list[str]:
    """Completes names of sweeps, and networks behind such a name and a colon."""
    return complete_network(ctx, incomplete) if ":" in incomplete else complete_sweep(ctx, incomplete)


Name = Annotated[str, typer.Argument(help="Name of the sweep.", autocompletion=complete_sweep)]
Root = Annotated[
    str | None,
    typer.Option("--root", help="Folder or s3://bucket/prefix of all sweeps [env SWEEPS_ROOT, else ./sweeps-out]."),
]
Uri = Annotated[str | None, typer.Option("--tracking-uri", help="MLflow store [ROOT/mlflow.db].")]
SameUri = Annotated[
    str | None, typer.Option("--tracking-uri", help="MLflow store [that of the last session, else ROOT/mlflow.db].")
]
Address = Annotated[
    str | None, typer.Option("--address", help="Address of a Ray cluster [starts Ray on this machine].")
]
Storage = Annotated[
    str | None,
    typer.Option("--storage", help="PostgreSQL for the study [env SWEEPS_STORAGE, else a journal file in the root]."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Data = Annotated[str | None, typer.Option("--data", help="Folder of datasets [env SUPERMASK_DATA].")]
Download = Annotated[bool, typer.Option("--download", help="Download missing datasets with torchvision.")]


def say(text: str) -> None:
    """Prints a message to stderr without markup."""
    err.print(text, markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Prints a result as JSON to stdout."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


Packs = Annotated[int | None, typer.Option("--packs", min=1, help="Packs at a time, e.g. of a cluster that grows.")]
Lanes = Annotated[str, typer.Option("--lanes", help="Trials fused into one pack, or auto.")]
Gpus = Annotated[float | None, typer.Option("--gpus-per-pack", help="GPUs of a pack, e.g. 1 or 0.25.")]
Cpus = Annotated[int | None, typer.Option("--cpus-per-pack", help="CPU cores of a pack.")]
Checkpoints = Annotated[
    float | None,
    typer.Option("--checkpoint-seconds", help="Training between two checkpoints of a trial [what costs at most 4 %]."),
]
InProcess = Annotated[
    bool, typer.Option("--in-process", help="Train in this process, one pack at a time, without Ray.")
]
