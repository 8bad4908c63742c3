"""Exports trained networks: artifact, PyTorch state dict, ONNX model or MLflow model."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from supermask import data
from supermask.artifact import Artifact
from supermask.config import ConfigError
from supermask.plain import plain_network
from sweeps.analysis import named_network
from sweeps.errors import SweepError
from sweeps.objectives import Key
from sweeps.remote.root import sending
from sweeps.store.paths import SweepPaths, replacing
from sweeps.tracking import onnx_model

SUFFIXES = {"artifact": ".safetensors", "torch": ".pt", "onnx": ".onnx"}
"""File formats and their suffixes."""
CHECKED_IMAGES = 256
"""Number of images on which an exported model is checked against the network."""
EXAMPLE_IMAGES = 2

Say = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """The network to export.

    Attributes:
        path: The artifact's file.
        name: What files made from it are called.
        sweep: The sweep it belongs to; None when it was given by its path.
        key: Its trial and epoch, likewise.
    """

    path: Path
    name: str
    sweep: SweepPaths | None = None
    key: Key | None = None


def find(text: str, root: str | None) -> Source:
    """Resolves `NAME:TRIAL@EPOCH`, see `sweeps.analysis.named_network`, or the path of an artifact.

    Args:
        text: As the user wrote it.
        root: The option `--root`.

    Raises:
        SweepError: If there is no such network, or its masks were not kept.
    """
    if text.endswith(SUFFIXES["artifact"]) or Path(text).is_file():
        return Source(Path(text), Path(text).stem)
    found = named_network.find(text, root, what="WHAT", other="the path of an artifact or ")
    return Source(found.artifact(), found.stem, found.paths, found.key)


def export_file(source: Source, to: str, out: Path | None, *, data_root: str | None, say: Say) -> Path:
    """Writes an artifact, a state dict or an ONNX model.

    Args:
        source: The trained network.
        to: A key of `SUFFIXES`.
        out: Where to; by default the source's name in the current folder.
        data_root: Folder of the datasets, for the check of an ONNX model.
        say: Told what the user should know.

    Returns:
        The file.

    Raises:
        SweepError: If it cannot be written, or would classify otherwise than the network.
        ConfigError: If the artifact cannot be used.
    """
    artifact = Artifact.load(source.path)
    path = out or Path(source.name + SUFFIXES[to])
    if path.is_dir() or not path.parent.is_dir():
        raise SweepError(f"--out {path}: must be a file in a folder that exists, but is not. Choose another.")
    if path.exists():
        raise SweepError(f"--out {path}: must be a new file, but there is one. Remove it, or choose another name.")
    if to == "artifact":
        content = artifact.to_bytes()
    elif to == "torch":
        content = _state_dict(artifact)
    else:
        onnx_model.check_installed("--to onnx")
        content = onnx_model.convert(plain_network(artifact), example_images(artifact, data_root, say))
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise SweepError(f"--out: writing {path} failed: {error.strerror}. Choose another.") from error
    return path


def export_model(source: Source, uri: str | None, *, name: str | None, data_root: str | None, say: Say) -> str:
    """Logs a network as a model to its trial's run in MLflow, and registers it if it is given a name.

    Args:
        source: The trained network, given as NAME:TRIAL@EPOCH.
        uri: MLflow store; by default that of the root.
        name: To register it under.
        data_root: Folder of the datasets, for check and example.
        say: Told what the user should know.

    Returns:
        The model's address in MLflow.

    Raises:
        SweepError: If it is no network of a sweep, its trial has no run there, or the store does not answer or takes
            no such name.
        ConfigError: If the artifact cannot be used.
    """
    from sweeps.tracking import mlflow_store, model_registry

    if name is not None:
        model_registry.check_name(name)

    if source.sweep is None or source.key is None:
        raise SweepError(
            f"--to mlflow: a model belongs to a trial's run, but got the path {source.path}. "
            "Name it as NAME:TRIAL@EPOCH."
        )
    onnx_model.check_installed("--to mlflow")
    artifact = Artifact.load(source.path)
    store = uri or mlflow_store.default_uri(source.sweep.root)
    with sending(source.sweep, say, what="mlflow", mlflow=not uri):
        run_id = model_registry.run_of(store, source.sweep.name, source.key[0], root=source.sweep.root)
        images = example_images(artifact, data_root, say)
        model = onnx_model.convert(plain_network(artifact), images)
        tags = model_registry.tags_of(source.sweep.name, source.key)
        address = model_registry.log(store, run_id, model=model, images=images[:EXAMPLE_IMAGES].numpy(), tags=tags)
        if name is None:
            return address
        return model_registry.register(store, address.removeprefix("models:/"), name, tags=tags)


def example_images(artifact: Artifact, data_root: str | None, say: Say) -> Tensor:
    """Images to check a model on: of the dataset it was trained on, where that can be loaded."""
    try:
        found = data.load(artifact.config.dataset, data_root)
        if found.input_shape == artifact.input_shape:
            return found.train_images[:CHECKED_IMAGES]
        reason = f"its images are {found.input_shape}, the network takes {artifact.input_shape}"
    except ConfigError as error:
        reason = str(error)
    say(f"checked on random images, because dataset {artifact.config.dataset} cannot be used: {reason}")
    random = torch.Generator().manual_seed(0)
    return torch.randint(256, (CHECKED_IMAGES, *artifact.input_shape), dtype=torch.uint8, generator=random)


def _state_dict(artifact: Artifact) -> bytes:
    stream = io.BytesIO()
    torch.save(plain_network(artifact).state_dict(), stream)
    return stream.getvalue()
