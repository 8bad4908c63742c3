"""A trained network as one small file: its configuration, its masks, and what they reached.

The frozen weights are not stored: they are drawn again from the configuration's seed. A mask takes one
bit a weight for hidden or not, and one more for the sign of each weight that is not hidden.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int8
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from torch import Tensor

from supermask.config import ConfigError, TrainConfig

FORMAT, VERSION = "signed-supermask", 1


@dataclass(frozen=True)
class Artifact:
    """A trained network.

    Attributes:
        config: How it was trained; its seed gives the frozen weights.
        masks: By layer name, entries -1, 0 and +1.
        metrics: What it reached, e.g. `test_accuracy`.
    """

    config: TrainConfig
    masks: dict[str, Int8[Tensor, "..."]]
    metrics: dict[str, float]

    def to_bytes(self) -> bytes:
        """The artifact as the content of a safetensors file."""
        arrays: dict[str, np.ndarray] = {}
        shapes: dict[str, list[int]] = {}
        for name, mask in self.masks.items():
            flat = mask.flatten().numpy()
            arrays[f"{name}.shown"] = np.packbits(flat != 0)
            arrays[f"{name}.kept"] = np.packbits(flat[flat != 0] > 0)
            shapes[name] = list(mask.shape)
        content = {"config": self.config.to_dict(), "metrics": self.metrics, "shapes": shapes}
        text = json.dumps(content, sort_keys=True)
        header = {"format": FORMAT, "version": str(VERSION), "content": text, "sha256": _checksum(text, arrays)}
        return save_arrays(arrays, header)

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> "Artifact":
        """Reads what `to_bytes` wrote.

        Args:
            data: Content of the file.
            where: Name of the file, for messages.

        Raises:
            ConfigError: If it is not an artifact, is damaged, or is of a newer format.
        """
        header, arrays = _read(data, where)
        if header.get("format") != FORMAT or not header.get("version", "").isdecimal():
            raise _fault(
                where, f"be a file of format {FORMAT}", f"format {header.get('format')!r}", "Name another file."
            )
        if int(header["version"]) > VERSION:
            raise _fault(
                where, f"have version {VERSION} or older", f"version {header['version']}", "Update this package."
            )
        if header.get("sha256") != _checksum(header.get("content", ""), arrays):
            raise _fault(where, "match its checksum", "other content", "It is damaged: fetch or train it again.")
        content = json.loads(header["content"])
        masks = {name: _mask(arrays, name, shape) for name, shape in content["shapes"].items()}
        return cls(TrainConfig.from_dict(content["config"]), masks, content["metrics"])


def _mask(arrays: Mapping[str, np.ndarray], name: str, shape: list[int]) -> Tensor:
    flat = np.unpackbits(arrays[f"{name}.shown"], count=int(np.prod(shape))).astype(np.int8)
    kept = np.unpackbits(arrays[f"{name}.kept"], count=int(flat.sum())).astype(np.int8)
    flat[flat != 0] = 2 * kept - 1
    return torch.from_numpy(flat).view(shape)


def _read(data: bytes, where: str) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    try:
        arrays = load_arrays(data)
        # The public readers of bytes leave the metadata out; it is the first JSON object of the file.
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    except (SafetensorError, ValueError, KeyError) as error:
        raise _fault(where, "be a safetensors file", f"{error}", "It is damaged: fetch or train it again.") from error
    return header, arrays


def _checksum(text: str, arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        digest.update(name.encode() + b"\0" + arrays[name].tobytes())
    return digest.hexdigest()


def _fault(where: str, rule: str, got: str, remedy: str) -> ConfigError:
    return ConfigError(f"artifact {where}: must {rule}, but got {got}. {remedy}")
