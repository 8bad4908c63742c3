"""The file format of artifacts: safetensors, with a checksum over every byte of the file."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from supermask.config import ConfigError

FORMAT, VERSION = "signed-supermask", 2

_ALIGNMENT = 8
_UNSEALED = "0" * 64
_SEAL = re.compile(rb'"sha256":"([0-9a-f]{64})"')
"""Where the checksum stands. Text inside of a JSON string has its quotes escaped, so it cannot look like this."""
_DAMAGED = "It is damaged: fetch or train it again."

Arrays = dict[str, np.ndarray]


def seal(text: str, arrays: Mapping[str, np.ndarray]) -> bytes:
    """A safetensors file of arrays and a text; equal contents give equal bytes.

    The checksum is taken with zeros in its own place: so it covers header, padding and data alike.
    """
    metadata = {"format": FORMAT, "version": str(VERSION), "content": text, "sha256": _UNSEALED}
    written = save_arrays(dict(arrays), metadata)
    # The library writes the metadata in an order of the moment.
    length, header = _header(written)
    ordered = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    ordered += b" " * (-len(ordered) % _ALIGNMENT)
    data = len(ordered).to_bytes(8, "little") + ordered + written[8 + length :]
    return data.replace(f'"sha256":"{_UNSEALED}"'.encode(), f'"sha256":"{_checksum(data)}"'.encode(), 1)


def unseal(data: bytes, where: str) -> tuple[str, Arrays]:
    """Text and arrays of what `seal` gave.

    Args:
        data: Content of the file.
        where: Name of the file, for messages.

    Raises:
        ConfigError: If it is not such a file, is damaged, or is of another version.
    """
    try:
        arrays = load_arrays(data)
        length, header = _header(data)
        metadata = header.get("__metadata__") or {}
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _fault(where, "be a safetensors file", str(error) or type(error).__name__, _DAMAGED) from error
    name, version = metadata.get("format"), metadata.get("version", "")
    if name != FORMAT or not re.fullmatch("[0-9]{1,9}", version):
        raise _fault(where, f"be a file of format {FORMAT}", f"format {name!r}", "Name another file.")
    if int(version) != VERSION:
        remedy = "Update this package." if int(version) > VERSION else "Train it again."
        raise _fault(where, f"have version {VERSION}", f"version {version}", remedy)
    if not _is_intact(data, 8 + length):
        raise _fault(where, "match its checksum", "other content", _DAMAGED)
    return metadata["content"], arrays


def _is_intact(data: bytes, header_end: int) -> bool:
    seals = list(_SEAL.finditer(data, 8, header_end))
    if len(seals) != 1:
        return False
    start, end = seals[0].span(1)
    return data[start:end] == _checksum(data[:start] + _UNSEALED.encode() + data[end:]).encode()


def _header(data: bytes) -> tuple[int, dict[str, Any]]:
    """Length and content: the public readers of bytes leave the metadata out."""
    length = int.from_bytes(data[:8], "little")
    return length, json.loads(data[8 : 8 + length])


def _checksum(unsealed: bytes) -> str:
    return hashlib.sha256(unsealed).hexdigest()


def _fault(where: str, rule: str, got: str, remedy: str) -> ConfigError:
    return ConfigError(f"artifact {where}: must {rule}, but got {got}. {remedy}")
