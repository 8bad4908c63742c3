"""Masks in few bytes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supermask import mask_codes


def with_shown(positions: list[int], size: int, signs: int = 1) -> np.ndarray:
    mask = np.zeros(size, np.int8)
    mask[positions] = signs
    return mask


@pytest.mark.parametrize(
    ("positions", "size", "code", "expected"),
    [
        ([], 100, "gaps", []),
        ([0], 100, "gaps", [0]),
        ([3, 4, 9], 100, "gaps", [3, 0, 4]),
        ([254], 4000, "gaps", [254]),
        ([255], 4000, "gaps", [255, 0]),
        ([256, 1021], 9000, "gaps", [255, 1, 255, 255, 254]),
        ([256, 1022], 9000, "gaps", [255, 1, 255, 255, 255, 0]),
        ([0, 9], 16, "bits", [0b10000000, 0b01000000]),
        ([], 0, "bits", []),
    ],
)
def test_the_shorter_code_is_chosen(positions: list[int], size: int, code: str, expected: list[int]) -> None:
    mask = with_shown(positions, size)
    parts = mask_codes.encode(mask, signed=False)
    assert {name: part.tolist() for name, part in parts.items()} == {code: expected}
    np.testing.assert_array_equal(mask_codes.decode(parts, size, signed=False), mask)


def test_signs_are_kept_of_shown_weights_only() -> None:
    parts = mask_codes.encode(np.array([1, 0, -1, 1, 0, 0, 0, 0], np.int8), signed=True)
    assert {name: part.tolist() for name, part in parts.items()} == {"bits": [0b10110000], "signs": [0b10100000]}


@given(st.integers(0, 2**32), st.integers(1, 3000), st.floats(0, 1), st.booleans())
def test_what_is_encoded_is_decoded(seed: int, size: int, hidden: float, signed: bool) -> None:
    random = np.random.default_rng(seed)
    mask = (random.random(size) >= hidden).astype(np.int8)
    if signed:
        mask *= random.choice(np.array([-1, 1], np.int8), size)
    parts = mask_codes.encode(mask, signed=signed)
    np.testing.assert_array_equal(mask_codes.decode(parts, size, signed=signed), mask)
    most = -(-size // 8)
    assert sum(len(part) for part in parts.values()) <= (2 * most if signed else most)


BYTES = np.array([3, 4], np.uint8)


@pytest.mark.parametrize(
    ("parts", "size", "signed", "message"),
    [
        ({"bits": BYTES}, 17, False, "hold 17 bits, but got 2 bytes"),
        ({"gaps": BYTES}, 8, False, "have 8 weights, but got a mask of at least 9"),
        ({"gaps": np.array([3, 255], np.uint8)}, 999, False, "end its gaps with a shown weight, but got an unfinished"),
        ({"gaps": BYTES, "signs": BYTES}, 9, True, "hold 2 bits, but got 2 bytes"),
        ({"gaps": BYTES, "bits": BYTES}, 9, False, "hold bits or gaps, but got bits, gaps"),
        ({"gaps": BYTES}, 9, True, "hold bits or gaps, and signs, but got gaps"),
        ({}, 9, True, "hold bits or gaps, and signs, but got nothing"),
        ({"bits": BYTES, "signs": BYTES}, 9, False, "hold bits or gaps, but got bits, signs"),
    ],
)
def test_parts_that_fit_no_mask_are_refused(
    parts: dict[str, np.ndarray], size: int, signed: bool, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        mask_codes.decode(parts, size, signed=signed)
