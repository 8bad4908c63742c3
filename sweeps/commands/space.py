"""The command that writes a search space."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sweeps.commands.options import err, out
from sweeps.errors import SweepError
from sweeps.store.paths import check_name, replacing

TRIALS = 64


def _networks(incomplete: str) -> list[str]:
    """Completes names of networks."""
    from sweeps.commands.new_space import NETWORKS

    return [name for name in NETWORKS if name.startswith(incomplete)]


def init(
    name: Annotated[str, typer.Argument(help="Name of the space, and of its sweep.")],
    network: Annotated[
        str | None, typer.Option("--network", help="fcn, conv2 to conv8, resnet20, ...", autocompletion=_networks)
    ] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", help="mnist, cifar10, ..., or folder:NAME.")] = None,
    trials: Annotated[int | None, typer.Option("--trials", min=1, help="Trials to run [64].")] = None,
    stopping: Annotated[bool, typer.Option("--stopping", help="Enable early stopping.")] = False,
    file: Annotated[str | None, typer.Option("--out", help="The file to write [NAME.yaml].")] = None,
) -> None:
    """Write a commented search space NAME.yaml, after three questions or from the options.

    It asks only on a terminal, and only when none of the three is given.

    Example: sweeps init my_space --network fcn --dataset mnist --trials 64
    """
    from sweeps.commands.new_space import usual_dataset, write_space

    path = Path(file or f"{check_name(name)}.yaml")
    if path.exists() or not path.parent.is_dir():
        wanted = "a file in a folder that exists" if not path.exists() else "a new file, but there is one"
        raise SweepError(f"{path}: must be {wanted}. Choose another: sweeps init {name} --out OTHER.yaml")
    if network is None and dataset is None and trials is None and sys.stdin.isatty():
        network, dataset, trials = _ask()
    network = network or "fcn"
    text = write_space(name, network, dataset or usual_dataset(network), trials or TRIALS, stopping=stopping)
    _put(path, text)
    out.print(str(path), soft_wrap=True)
    download = "" if "dataset: digits" in text or "dataset: folder:" in text else " --download"
    err.print(f"what it would take here: sweeps run {path}{download} --dry-run", soft_wrap=True)
    err.print(f"run it:                  sweeps run {path}{download}", soft_wrap=True)


def _ask() -> tuple[str, str, int]:
    from rich.prompt import IntPrompt, Prompt

    from sweeps.commands.new_space import DATASETS, NETWORKS, usual_dataset

    network = Prompt.ask("Network", choices=list(NETWORKS), default="fcn", console=err)
    dataset = Prompt.ask(f"Dataset: {', '.join(DATASETS)} or folder:NAME", default=usual_dataset(network), console=err)
    return network, dataset, IntPrompt.ask("Trials to run", default=TRIALS, console=err)


def _put(path: Path, text: str) -> None:
    from search_spaces.load import load

    try:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
            load(temporary)  # it is refused here rather than when it is run
    except OSError as error:
        raise SweepError(f"--out: writing {path} failed: {error.strerror}. Choose another.") from error
