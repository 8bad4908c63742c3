"""A commented search space to begin with, made from the shipped one of the same network."""

import re
import sys
from pathlib import Path

from supermask.config import RULES
from sweeps.errors import SweepError

NETWORKS = RULES["network"].choices

DATASETS = ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "cifar10-jpeg")
"""Datasets by name; a folder of images is `folder:NAME`."""

_USUAL = {"resnet56": "cifar100", "resnet110": "cifar100"}
_CONSTRAINTS = '["val_accuracy >= 0.9"]'
_STOPPING = "{eta: 3, grace_epochs: 5}"


def usual_dataset(network: str) -> str:
    """The dataset that the paper trains a network on.

    Raises:
        SweepError: If there is no such network.
    """
    if network not in NETWORKS:
        raise SweepError(
            f"--network: must be one of {', '.join(NETWORKS)}, but got {network!r}. Write for example --network fcn."
        )
    return "mnist" if network == "fcn" else _USUAL.get(network, "cifar10")


def write_space(name: str, network: str, dataset: str, trials: int, *, stopping: bool) -> str:
    """A search space as YAML, with comments that give units and the paper's values.

    Ranges and comments are those of the shipped space of the network, for its usual dataset if there is none for this.

    Raises:
        SweepError: If there is no such network or dataset.
    """
    usual = usual_dataset(network)
    if dataset not in DATASETS and not dataset.startswith("folder:"):
        raise SweepError(
            f"--dataset: must be one of {', '.join(DATASETS)} or folder:NAME, but got {dataset!r}. "
            f"Write for example --dataset {usual}."
        )
    shipped = Path(sys.modules["search_spaces"].__path__[0])
    known = (shipped / f"{network}_{dataset}.yaml").exists()
    text = (shipped / f"{network}_{dataset if known else usual}.yaml").read_text(encoding="utf-8")
    if not known:
        text = _for_another_dataset(text, network, dataset, usual)
    text = re.sub(r"(?m)^name: .*$", f"name: {name}", text)
    text = re.sub(r"(?m)^budget: .*$", f"budget: {{trials: {trials}}}", text)
    text = re.sub(r"(?m)^sampler: .*$", "sampler: {name: tpe, seed: 0}  # tpe, random, nsga2 or gp", text)
    text = re.sub(r"(?m)^stopping: .*\n?", "", text)
    what = "# stops all but the best third after 5, 15, 45, ... epochs"
    return text.rstrip() + f"\n{'' if stopping else '# '}stopping: {_STOPPING}  {what}\n"


def _for_another_dataset(text: str, network: str, dataset: str, usual: str) -> str:
    head = (
        f"# {network} on {dataset}. The paper (arXiv 2201.13361) has no figures for this pair: ranges and comments\n"
        f"# are those of {network} on {usual}. Widen a range where the front touches its end.\n"
    )
    text = head + text[re.search(r"(?m)^name: ", text).start() :]  # pyright: ignore[reportOptionalMemberAccess]
    text = re.sub(r"(?m)^  dataset: .*$", f"  dataset: {dataset}", text)
    text = re.sub(r"(?m)^(  network: \w+).*$", r"\1", text)
    return re.sub(r"(?m)^constraints: .*$", f"# constraints: {_CONSTRAINTS}  # what a wanted trial keeps to", text)
