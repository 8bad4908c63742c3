"""The commands for one network: train it, print its layers, export it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sweeps.commands.options import (
    AsJson,
    Data,
    Download,
    Root,
    Uri,
    complete_network,
    complete_sweep_or_network,
    err,
    out,
    print_json,
)
from sweeps.errors import SweepError
from sweeps.remote.root import fetch
from sweeps.store.paths import SweepPaths, resolve_root

if TYPE_CHECKING:
    from sweeps.commands.config_source import Source
    from sweeps.worker.training import Training


def train(
    config: Annotated[
        str,
        typer.Argument(
            help="YAML file of TrainConfig fields, or a network NAME:TRIAL@EPOCH of a sweep.",
            autocompletion=complete_network,
        ),
    ],
    folder: Annotated[str | None, typer.Option("--out", help="New folder of the results [NAME-TRIAL-EPOCH].")] = None,
    root: Root = None,
    data: Data = None,
    download: Download = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    cpus: Annotated[int, typer.Option("--cpus", min=1, help="CPU cores [1, like a sweep's pack].")] = 1,
    changes: Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a field.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train one network in this process, exactly as a sweep would, and write its mask, curves and figures.

    NAME:TRIAL is the trial's network on the front with the best estimate, else its last one.

    Example: sweeps train fcn_digits:12@30
    """
    from sweeps.commands.config_source import find

    source = find(config, resolve_root(root), changes or [])
    place = Path(folder or source.stem)

    from supermask.data import load
    from sweeps.display.progress import TrainingProgress
    from sweeps.worker import training

    training.check_free(place)
    where = training.choose_device(device)
    images = load(source.config.dataset, data, download=download)
    pack = training.build(source.config, images, where, threads=cpus)
    try:
        with TrainingProgress(source.label, source.config.epochs, err) as progress:
            done = training.train(pack, images, progress.see)
    except KeyboardInterrupt:
        text = f"{source.label}: interrupted after epoch {pack.epoch}; nothing was written"
        raise SweepError(text, exit_code=130) from None
    training.write(place, _files(source, done))
    _tell(source, done, place, as_json=as_json)
    if done.fault:
        raise SweepError(f"{source.label}: {done.fault}. Its curves are in {place}. {_REMEDY}", exit_code=1)


_REMEDY = "Lower learning_rate or weight_gain: --set learning_rate=0.01."


def layers(
    network: Annotated[
        str,
        typer.Argument(
            help="Network NAME:TRIAL@EPOCH of a sweep, one of its front, or NAME:TRIAL.",
            autocompletion=complete_network,
        ),
    ],
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Print the kept, hidden and inverted weights of each layer, and draw the first layer, masks/TRIAL-EPOCH.png.

    Example: sweeps layers fcn_digits:12@30
    """
    from sweeps.analysis import named_network

    found = named_network.find(network, root, what="NETWORK")
    kept = found.artifact()

    from supermask.artifact import Artifact
    from sweeps.display import layer_table
    from sweeps.figures import kept_mask

    artifact = Artifact.load(kept)
    masks = {layer.name: artifact.masks[layer.name] for layer in artifact.network.layers}
    records = layer_table.records(masks)
    if as_json:
        print_json(records)
    else:
        out.print(layer_table.table(records, title=f"{found.title}: {_what(artifact.config)}"))
    err.print(f"picture: {kept_mask.draw(found.paths, found.key)}", soft_wrap=True)


def _files(source: "Source", done: "Training") -> dict[str, bytes]:
    """Output files of a training by name; everything is drawn before anything is written."""
    from sweeps.commands.config_source import to_yaml
    from sweeps.figures.curves import curves_figure
    from sweeps.figures.drawing import as_png
    from sweeps.figures.mask import mask_figure
    from sweeps.worker import training

    left = f"{100 * done.last.remaining:.2f} % of the weights remain"
    epochs = f"{done.last.epoch} epoch{'' if done.last.epoch == 1 else 's'}"
    how = f"{_what(done.config)}, {epochs} in {done.dtype}: {done.fault or left}"
    curves = curves_figure(done.epochs, done.test, title=source.label, subtitle=how)
    files: dict[str, bytes] = {
        "config.yaml": to_yaml(done.config).encode(),
        "epochs.csv": training.as_csv(done).encode(),
        "curves.png": as_png(curves),
    }
    if done.artifact:
        files["artifact.safetensors"] = done.artifact.to_bytes()
        files["mask.png"] = as_png(mask_figure(done.masks, done.input_shape, title=source.label))
    return files


def _what(config: Any) -> str:
    method = "" if config.method == "signed" else f"{config.method} "
    return f"{method}{config.network} on {config.dataset}"


def _tell(source: "Source", done: "Training", folder: Path, *, as_json: bool) -> None:
    """Prints layers and test accuracy to stdout, the rest to stderr."""
    from sweeps.display import layer_table
    from sweeps.display.panel import duration
    from sweeps.worker import training

    records = layer_table.records(done.masks)
    test = {"test_loss": done.test.loss, "test_accuracy": done.test.accuracy} if done.test else {}
    if as_json:
        metrics = {name: getattr(done.last, name) for name in training.RECORDED}
        state = {"state": "failed" if done.fault else "finished", "reason": done.fault, "epochs_done": done.last.epoch}
        print_json({**state, **metrics, **test, "dtype": done.dtype, "folder": str(folder), "layers": records})
    elif done.test:
        out.print(layer_table.table(records, title=f"{source.label}: {_what(done.config)}"))
        out.print(
            f"test accuracy {100 * done.test.accuracy:.2f} % with {100 * done.last.remaining:.2f} % of the weights"
        )
    if source.network:
        err.print(_compare(done, source.network), soft_wrap=True)
    err.print(f"trained in {duration(done.seconds)}; results: {folder}", soft_wrap=True)


def _compare(done: "Training", row: Mapping[str, Any]) -> str:
    """The network beside what the sweep recorded of it."""

    def text(accuracy: float, remaining: float) -> str:
        return f"validation accuracy {100 * accuracy:.2f} %, remaining {100 * remaining:.2f} %"

    recorded, reached = ((one["val_accuracy"], one["remaining"]) for one in (row, vars(done.last)))
    if done.last.epoch == row["epoch"] and recorded == reached:
        return f"{text(*reached)}: exactly as in the sweep"
    how = "" if row["dtype"] == done.dtype else f", in {row['dtype']} instead of {done.dtype}"
    return f"{text(*reached)}; in the sweep: {text(*recorded)}{how}"


def export(
    what: Annotated[
        str,
        typer.Argument(
            metavar="NAME[:TRIAL[@EPOCH]]",
            help="A network, a trial for its one on the front, the path of an artifact, or a whole sweep.",
            autocompletion=complete_sweep_or_network,
        ),
    ],
    to: Annotated[
        Literal["artifact", "torch", "onnx", "mlflow"] | None,
        typer.Option("--to", help="Format of the exported network."),
    ] = None,
    file: Annotated[str | None, typer.Option("--out", help="The file to write [NAME-TRIAL-EPOCH.* here].")] = None,
    root: Root = None,
    tracking_uri: Uri = None,
    register: Annotated[
        str | None, typer.Option("--register", metavar="MODEL", help="Name in MLflow's model registry.")
    ] = None,
    data: Data = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write all trials of a sweep as CSV.")] = None,
    parquet: Annotated[Path | None, typer.Option("--parquet", help="Write all trials as Parquet.")] = None,
) -> None:
    """Write a trained network as artifact, PyTorch state dict or ONNX model, or log it to its trial's run in MLflow.

    With --register it becomes the next version of a registered model, with signature and input example.

    Of a whole sweep, write its trials: sweeps export fcn_digits --csv trials.csv

    Example: sweeps export fcn_digits:12@30 --to onnx --out digits.onnx
    """
    files = {"csv": csv, "parquet": parquet}
    if csv or parquet:
        if to or file or ":" in what:
            raise SweepError(
                f"--csv, --parquet: take all trials of a sweep, without --to and --out, but got {what}. "
                f"Write for example: sweeps export {what.partition(':')[0]} --csv trials.csv."
            )
        _export_trials(
            fetch(SweepPaths(resolve_root(root), what), summary=True),
            {kind: path for kind, path in files.items() if path},
        )
        return
    if to is None:
        raise SweepError(
            "--to: must say what to make of a network: artifact, torch, onnx or mlflow. Write for example --to onnx; "
            "or --csv trials.csv for all trials of a sweep."
        )

    from sweeps import export as networks

    def say(text: str) -> None:
        typer.echo(text, err=True)

    if to == "mlflow" and file is not None:
        raise SweepError("--out: must be left out with --to mlflow, which writes no file of its own. Remove it.")
    if register is not None and to != "mlflow":
        raise SweepError(f"--register: goes with --to mlflow, but got --to {to}. Write --to mlflow.")
    source = networks.find(what, root)
    if to == "mlflow":
        typer.echo(networks.export_model(source, tracking_uri, name=register, data_root=data, say=say))
    else:
        typer.echo(networks.export_file(source, to, Path(file) if file else None, data_root=data, say=say))


def _export_trials(paths: SweepPaths, files: dict[str, Path]) -> None:
    from sweeps import results

    for kind, path in files.items():
        count = results.write(paths, path, kind=kind)
        err.print(f"{count} trials", soft_wrap=True)
        typer.echo(path)
