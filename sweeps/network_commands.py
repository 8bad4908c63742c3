"""Commands about one trained network."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from sweeps.arguments import Data, Root, Uri


def export(
    what: Annotated[str, typer.Argument(metavar="NAME:TRIAL", help="A trial of a sweep, or the path of an artifact.")],
    to: Annotated[Literal["artifact", "torch", "onnx", "mlflow"], typer.Option("--to", help="What to make of it.")],
    out: Annotated[str | None, typer.Option("--out", help="The file to write [NAME-TRIAL.* here].")] = None,
    root: Root = None,
    tracking_uri: Uri = None,
    data: Data = None,
) -> None:
    """Write a trained network as artifact, PyTorch state dict or ONNX model, or log it to its run in MLflow.

    Example: sweeps export fcn_digits:12 --to onnx --out digits.onnx
    """
    from sweeps import export as networks
    from sweeps.errors import SweepError

    def say(text: str) -> None:
        typer.echo(text, err=True)

    if to == "mlflow" and out is not None:
        raise SweepError("--out: must be left out with --to mlflow, which writes no file of its own. Remove it.")
    source = networks.find(what, root)
    if to == "mlflow":
        typer.echo(networks.export_model(source, tracking_uri, data_root=data, say=say))
    else:
        typer.echo(networks.export_file(source, to, Path(out) if out else None, data_root=data, say=say))
