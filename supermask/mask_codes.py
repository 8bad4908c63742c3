"""A layer's mask in few bytes: the shorter of two codes.

| part | bytes | holds |
|---|---|---|
| `bits` | 1/8 a weight | one bit for every weight: shown or hidden |
| `gaps` | 1 a shown weight, and 1 for every 255 hidden in a row | hidden weights before each shown one; 255 goes on |
| `signs` | 1/8 a shown weight | kept (1) or inverted (0); only where a method inverts |

`gaps` is shorter when less than about an eighth of the weights is shown.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int8, Int64, UInt8

PARTS = ("bits", "gaps", "signs")
"""All parts that a mask may have."""
LONGEST_GAP = 254
"""Largest gap of one byte; the byte above it stands for as many hidden weights and no shown one."""

_ESCAPE = LONGEST_GAP + 1


def encode(mask: Int8[np.ndarray, " weight"], *, signed: bool) -> dict[str, UInt8[np.ndarray, " byte"]]:
    """The parts of a mask: `bits` or `gaps`, and `signs` where a method inverts.

    Args:
        mask: Entries -1, 0 and +1.
        signed: Whether entries can be -1.
    """
    shown = mask != 0
    bits, gaps = np.packbits(shown), _gaps(np.flatnonzero(shown))
    parts = {"bits": bits} if len(bits) <= len(gaps) else {"gaps": gaps}
    return parts | ({"signs": np.packbits(mask[shown] > 0)} if signed else {})


def decode(parts: Mapping[str, np.ndarray], size: int, *, signed: bool) -> Int8[np.ndarray, " weight"]:
    """The inverse of `encode`.

    Args:
        parts: What `encode` gave.
        size: Number of weights.
        signed: As given to `encode`.

    Raises:
        ValueError: If the parts are not those of a mask of this size; the message says what must hold.
    """
    code = "gaps" if "gaps" in parts else "bits"
    expected = [code, "signs"] if signed else [code]
    if sorted(parts) != expected:
        raise ValueError(
            f"hold bits or gaps{', and signs' if signed else ''}, but got {', '.join(sorted(parts)) or 'nothing'}"
        )
    if any(array.dtype != np.uint8 or array.ndim != 1 for array in parts.values()):
        raise ValueError("be stored in bytes, but got another type")
    positions = _positions(parts["gaps"]) if code == "gaps" else _unpack(parts["bits"], size).nonzero()[0]
    if len(positions) and positions[-1] >= size:
        raise ValueError(f"have {size} weights, but got a mask of at least {positions[-1] + 1}")
    mask = np.zeros(size, np.int8)
    mask[positions] = 2 * _unpack(parts["signs"], len(positions)).astype(np.int8) - 1 if signed else 1
    return mask


def _gaps(positions: Int64[np.ndarray, " shown"]) -> UInt8[np.ndarray, " byte"]:
    hidden = np.diff(positions, prepend=-1) - 1
    escapes = hidden // _ESCAPE
    code = np.full(int((escapes + 1).sum()), _ESCAPE, np.uint8)
    code[np.cumsum(escapes + 1) - 1] = hidden % _ESCAPE
    return code


def _positions(code: UInt8[np.ndarray, " byte"]) -> Int64[np.ndarray, " shown"]:
    if len(code) and code[-1] == _ESCAPE:
        raise ValueError("end its gaps with a shown weight, but got an unfinished gap")
    escaped = code == _ESCAPE
    steps = np.where(escaped, _ESCAPE, code.astype(np.int64) + 1)
    return np.cumsum(steps)[~escaped] - 1


def _unpack(packed: UInt8[np.ndarray, " byte"], count: int) -> UInt8[np.ndarray, " bit"]:
    if len(packed) != -(-count // 8):
        raise ValueError(f"hold {count} bits, but got {len(packed)} bytes")
    return np.unpackbits(packed, count=count)
