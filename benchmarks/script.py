"""What every benchmark does around its own work: start, choose a device, end with one message."""

import sys
from collections.abc import Callable
from typing import Any

import torch
import typer
from rich.console import Console

from supermask.config import ConfigError


def start(main: Callable[..., Any]) -> None:
    """Runs a benchmark's command line; data that cannot be used end it with one message and exit code 2."""
    try:
        typer.run(main)
    except ConfigError as error:
        Console(stderr=True).print(str(error), markup=False, highlight=False)
        sys.exit(2)


def device_of(name: str) -> torch.device:
    """The device that `--device` names.

    Raises:
        typer.BadParameter: If it is none, or not there.
    """
    if name not in ("cpu", "cuda") or (name == "cuda" and not torch.cuda.is_available()):
        raise typer.BadParameter(f"--device must be cpu or a cuda that this machine has, but got {name!r}.")
    return torch.device(name)
