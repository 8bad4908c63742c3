"""A trained network as one small file: its configuration, its masks, and what they reached.

The frozen weights are not stored: they are drawn again from the configuration's seed. A mask takes at most two bits
a weight, see `supermask.mask_codes`. Beside it stands in float32 what seed and mask do not decide:

| where | values |
|---|---|
| method `dense` | `LAYER.weights`, and no mask: nothing is hidden |
| method `zhou` | `LAYER.chances`, sigmoid(S), because its final network computes with W * sigmoid(S) |
| batch norms | `NORM.mean`, `NORM.variance`, and `NORM.gain`, `NORM.bias` where they are trained |
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int8
from torch import Tensor

from supermask import mask_codes, methods, sealed
from supermask.config import ConfigError, TrainConfig
from supermask.initialisers import unit_weights, weight_scale
from supermask.models import network_of
from supermask.network import MaskedLayer, Network
from supermask.pack import Pack

MOST_WEIGHTS, LARGEST_SIDE = 2**31, 2**16
"""Greatest legal numbers of weights, and of channels, rows, columns or classes: a forged file must not ask for all
memory."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Artifact:
    """A trained network.

    Attributes:
        config: How it was trained; its seed gives the frozen weights.
        input_shape: `(channels, height, width)` of an image.
        classes: Number of classes.
        masks: By layer name, entries -1, 0 and +1.
        values: Float32 values by name, see the table above; empty for most methods.
        metrics: What it reached, e.g. `test_accuracy`.

    Raises:
        ConfigError: On construction, if the parts do not fit each other.
    """

    config: TrainConfig
    input_shape: tuple[int, int, int]
    classes: int
    masks: dict[str, Int8[Tensor, "..."]]
    values: dict[str, Float[Tensor, "..."]]
    metrics: dict[str, float]

    def __post_init__(self) -> None:
        """Checks names, shapes and entries against the network of the configuration."""
        shapes = {layer.name: layer.shape for layer in self.network.layers}
        _check_shapes("masks", shapes, self.masks)
        _check_shapes("values", _value_shapes(self.config.method, self.network), self.values)
        legal = _ENTRIES.get(self.config.method, (0, 1))
        for name, mask in self.masks.items():
            if not torch.isin(mask, torch.tensor(legal, dtype=mask.dtype)).all():
                words = ", ".join(str(entry) for entry in legal)
                raise ConfigError(
                    f"artifact: the mask of {name} must have entries {words} with method {self.config.method}, "
                    "but got others. Take it from a pack: Artifact.of."
                )

    @classmethod
    def of(cls, pack: Pack, lane: int, metrics: Mapping[str, float]) -> "Artifact":
        """What a pack has trained so far, as what a training of so many epochs ends with.

        Args:
            pack: Holds the lane.
            lane: Place in the pack's configurations.
            metrics: What the lane reached.

        Raises:
            ConfigError: If the lane is not in training.
        """
        network = pack.network
        parts = pack.mask(lane), pack.values(lane), dict(metrics)
        config = replace(pack.configs[lane], epochs=max(pack.epoch, 1))
        return cls(config, network.input_shape, network.classes, *parts)

    @classmethod
    def load(cls, path: str | Path) -> "Artifact":
        """Reads a file that holds what `to_bytes` gave.

        Raises:
            ConfigError: If it cannot be read or used, see `from_bytes`.
        """
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise ConfigError(
                f"artifact {path}: must be a file that can be read, but got: {error.strerror}. Check the path."
            ) from error
        return cls.from_bytes(data, str(path))

    @cached_property
    def network(self) -> Network:
        """The network that was trained."""
        return network_of(self.config, input_shape=self.input_shape, classes=self.classes)

    def weights(self) -> dict[str, Float[Tensor, "..."]]:
        """The effective weights of each layer in float32: the frozen ones, drawn again, times the mask."""
        return {layer.name: self._effective(layer, index) for index, layer in enumerate(self.network.layers)}

    def to_bytes(self) -> bytes:
        """The artifact as the content of a safetensors file; equal artifacts give equal bytes."""
        arrays = {name: value.numpy() for name, value in self.values.items()}
        if self.config.method != "dense":
            signed = self.config.method == "signed"
            for name, mask in self.masks.items():
                parts = mask_codes.encode(mask.flatten().numpy(), signed=signed)
                arrays |= {f"{name}.{part}": array for part, array in parts.items()}
        content = {
            "config": self.config.to_dict(),
            "input_shape": list(self.input_shape),
            "classes": self.classes,
            "metrics": self.metrics,
        }
        return sealed.seal(json.dumps(content, sort_keys=True), arrays)

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> "Artifact":
        """Reads what `to_bytes` wrote.

        Args:
            data: Content of the file.
            where: Name of the file, for messages.

        Raises:
            ConfigError: If it is not an artifact, is damaged, is of another version, or does not fit its configuration.
        """
        text, arrays = sealed.unseal(data, where)
        try:
            content = _content(json.loads(text))
            network = network_of(content["config"], input_shape=content["input_shape"], classes=content["classes"])
            if network.parameters > MOST_WEIGHTS:
                raise ValueError(f"a network of {network.parameters} weights where {MOST_WEIGHTS} are the most.")
            masks = {layer.name: _mask(layer, content["config"].method, arrays) for layer in network.layers}
            return cls(**content, masks=masks, values={name: _value(name, array) for name, array in arrays.items()})
        except (ValueError, TypeError, RecursionError) as error:
            raise ConfigError(
                f"artifact {where}: its parts must fit each other, but got: {error} It was not written by this "
                "package: train the network again."
            ) from error

    def _effective(self, layer: MaskedLayer, index: int) -> Float[Tensor, "..."]:
        if self.config.method == "dense":
            return self.values[f"{layer.name}.weights"]
        unit = unit_weights(self.config, layer, index).float()
        mask, scale = self.masks[layer.name].float(), torch.tensor([weight_scale(self.config, layer)])
        match self.config.method:
            case "zhou":
                return self.values[f"{layer.name}.chances"] * unit * scale
            case "edge_popup":
                rate = torch.tensor([self.config.pruning_rate])
                return mask * unit * methods.widened_scale(scale, rate)
            case "multi_prize":
                return mask * torch.sign(unit) * methods.binarised_scale(scale, unit[None], mask[None] != 0)
            case _:
                return mask * unit * scale


_ENTRIES = {"signed": (-1, 0, 1), "dense": (1,)}
"""Legal mask entries; 0 and 1 for the methods that are not named."""


def _value_shapes(method: str, network: Network) -> dict[str, Shape]:
    """Names and shapes of the values that a network needs beside its masks."""
    part = {"dense": "weights", "zhou": "chances"}.get(method)
    shapes: dict[str, Shape] = {f"{layer.name}.{part}": layer.shape for layer in network.layers} if part else {}
    for norm in network.norms:
        parts = ("mean", "variance", "gain", "bias") if norm.trained else ("mean", "variance")
        shapes |= {f"{norm.name}.{part}": (norm.channels,) for part in parts}
    return shapes


def _check_shapes(what: str, expected: Mapping[str, Shape], found: Mapping[str, Tensor]) -> None:
    for name in sorted(expected.keys() | found.keys()):
        wanted, got = expected.get(name), tuple(found[name].shape) if name in found else None
        if wanted != got:
            raise ConfigError(
                f"artifact: {what} must hold {name} of shape {wanted}, but got {got}. "
                "Take them from a pack: Artifact.of."
            )


def _content(content: Any) -> dict[str, Any]:
    """Configuration, shapes and metrics out of the text of a file."""
    names = {"config", "input_shape", "classes", "metrics"}
    if not isinstance(content, dict) or content.keys() != names:
        raise ValueError(f"the header must hold {', '.join(sorted(names))}.")
    sides, metrics = (
        [*_whole_numbers(content["input_shape"]), *_whole_numbers([content["classes"]])],
        content["metrics"],
    )
    if len(sides) != 4:
        raise ValueError(f"input_shape must be channels, height and width, not {content['input_shape']}.")
    if not isinstance(metrics, dict) or not all(isinstance(value, int | float) for value in metrics.values()):
        raise ValueError("metrics must be numbers.")
    if not isinstance(content["config"], dict):
        raise ValueError("config must be fields and values.")
    config = TrainConfig.from_dict(content["config"])
    return {"config": config, "input_shape": tuple(sides[:3]), "classes": sides[3], "metrics": metrics}


def _whole_numbers(values: Any) -> Iterator[int]:
    for value in values:
        if type(value) is not int or not 1 <= value <= LARGEST_SIDE:
            raise ValueError(
                f"1 <= size <= {LARGEST_SIDE} must hold for channels, height, width and classes, not {value}."
            )
        yield value


def _value(name: str, array: np.ndarray) -> Float[Tensor, "..."]:
    if array.dtype != np.float32:
        raise ValueError(f"{name} must be of float32, not {array.dtype}.")
    return torch.from_numpy(array.copy())  # the file's bytes are read-only


def _mask(layer: MaskedLayer, method: str, arrays: dict[str, Any]) -> Int8[Tensor, "..."]:
    """Takes the parts of a layer's mask out of the arrays of a file."""
    if method == "dense":
        return torch.ones(layer.shape, dtype=torch.int8)
    found = {part: arrays.pop(f"{layer.name}.{part}", None) for part in mask_codes.PARTS}
    parts = {part: array for part, array in found.items() if array is not None}
    try:
        mask = mask_codes.decode(parts, layer.size, signed=method == "signed")
    except ValueError as error:
        raise ValueError(f"the mask of {layer.name} must {error}.") from error
    return torch.from_numpy(mask).view(layer.shape)
