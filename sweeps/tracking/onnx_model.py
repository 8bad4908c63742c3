"""A trained network as an ONNX model: input `images` in uint8, output `logits`, any number of images at a time.

Only this module imports onnx and onnxruntime, which are optional.
"""

import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from sweeps.errors import SweepError

if TYPE_CHECKING:
    from onnx import ModelProto

INPUT, OUTPUT = "images", "logits"
_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def check_installed(option: str) -> None:
    """Makes sure that ONNX models can be written and run.

    Args:
        option: What asks for them, for the message.

    Raises:
        SweepError: If a package is missing.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise SweepError(
            f"{option}: the packages {', '.join(_PACKAGES)} must be installed, but got no {', '.join(missing)}. "
            'Install them: pip install "signed-supermask-sweeps[onnx]".'
        )


def convert(network: nn.Module, images: Tensor) -> bytes:
    """The content of an ONNX file that classifies the images as the network does.

    Args:
        network: Takes uint8 images, gives logits; in eval mode.
        images: At least two; the model is checked on all of them.

    Raises:
        SweepError: If the model classifies one of them differently.
    """
    model = _converted(network, images[:2])
    _strip(model)
    data = model.SerializeToString()
    with torch.no_grad():
        expected = network(images).argmax(dim=1).numpy()
    differing = int((run(data, images.numpy()).argmax(axis=1) != expected).sum())
    if differing:
        raise SweepError(
            f"ONNX model: must classify as the network does, but got other classes for {differing} of {len(images)} "
            "images. Export it with --to torch.",
            exit_code=1,
        )
    return data


def run(data: bytes, images: np.ndarray) -> np.ndarray:
    """Logits `[batch, class]` of an ONNX model, on the CPU.

    Args:
        data: Content of its file.
        images: Uint8, `[batch, channel, height, width]`.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return np.asarray(session.run([OUTPUT], {INPUT: images})[0])


def parse(data: bytes) -> "ModelProto":
    """The model of an ONNX file."""
    import onnx

    return onnx.load_from_string(data)


def _converted(network: nn.Module, images: Tensor) -> Any:
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.onnx.export(
        network,
        (images,),
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=shapes,
        dynamo=True,
        verbose=False,
    )
    if program is None:
        raise SweepError("ONNX model: torch must give one, but got none. Update torch.", exit_code=1)
    return program.model_proto


def _strip(model: Any) -> None:
    """Takes out where in which source file every node came from: paths of this machine, most of a small file."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
    del model.functions[:]
    model.producer_name = "signed-supermask-sweeps"
