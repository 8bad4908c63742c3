"""Trained networks as files."""

import contextlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from supermask.artifact import Artifact
from supermask.config import ConfigError, TrainConfig

METRICS = {"test_accuracy": 0.5, "remaining": 0.25}


def artifact(seed: int = 0, shape: tuple[int, ...] = (5, 7)) -> Artifact:
    random = np.random.default_rng(seed)
    masks = {
        "linear1": torch.from_numpy(random.integers(-1, 2, shape).astype(np.int8)),
        "linear2": torch.zeros(3, 5, dtype=torch.int8),
        "conv1": torch.from_numpy(random.integers(-1, 2, (2, 3, 3, 3)).astype(np.int8)),
    }
    return Artifact(TrainConfig(seed=seed, learning_rate=0.1), masks, METRICS)


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (8, 8), (3, 11)])
def test_what_is_written_is_read(shape: tuple[int, ...]) -> None:
    written = artifact(3, shape)
    read = Artifact.from_bytes(written.to_bytes(), "a file")
    assert read.config == written.config
    assert read.metrics == METRICS
    assert read.masks.keys() == written.masks.keys()
    for name, mask in written.masks.items():
        assert torch.equal(read.masks[name], mask)


def test_a_weight_takes_at_most_two_bits() -> None:
    mask = torch.ones(300, 784, dtype=torch.int8)
    dense = Artifact(TrainConfig(), {"linear1": mask}, {}).to_bytes()
    empty = Artifact(TrainConfig(), {"linear1": 0 * mask}, {}).to_bytes()
    overhead = 2000
    assert len(dense) <= 2 * mask.numel() / 8 + overhead
    assert len(empty) <= mask.numel() / 8 + overhead


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_every_altered_byte_is_noticed(position: int, change: int) -> None:
    data = bytearray(artifact().to_bytes())
    data[position % len(data)] ^= change
    # JSON has bytes that mean nothing, such as spaces: what is read after all must be what was written.
    with contextlib.suppress(ConfigError):
        read = Artifact.from_bytes(bytes(data), "a file")
        assert read.config == artifact().config
        assert all(torch.equal(read.masks[name], mask) for name, mask in artifact().masks.items())


@given(st.integers(0, 10**6))
def test_every_truncation_is_noticed(length: int) -> None:
    data = artifact().to_bytes()
    with pytest.raises(ConfigError, match="artifact a file: must"):
        Artifact.from_bytes(data[: length % len(data)], "a file")


def test_newer_and_foreign_files_are_refused() -> None:
    foreign = save({"x": np.zeros(3)})
    with pytest.raises(
        ConfigError, match=r"artifact f: must be a file of format signed-supermask, but got format None"
    ):
        Artifact.from_bytes(foreign, "f")
    newer = save({"x": np.zeros(3)}, {"format": "signed-supermask", "version": "2"})
    with pytest.raises(ConfigError, match=r"artifact f: must have version 1 or older, but got version 2. Update"):
        Artifact.from_bytes(newer, "f")
