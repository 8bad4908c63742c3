import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from supermask import data
from supermask.config import ConfigError, TrainConfig
from supermask.data import Dataset


def test_digits_are_the_real_ones(digits: Dataset) -> None:
    assert digits.input_shape == (1, 8, 8)
    assert digits.classes == 10
    assert (len(digits.train_images), len(digits.test_images)) == (1437, 360)
    # The first image of the file, a zero, opens the test set; levels 0..16 are stored as 0..240.
    assert (digits.test_images[0, 0, 0] // 15).tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert digits.test_labels[:3].tolist() == [0, 5, 0]
    assert digits.train_labels[:8].tolist() == [1, 2, 3, 4, 6, 7, 8, 9]
    assert digits.train_images.dtype == torch.uint8
    assert int(digits.train_images.max()) == 240
    counts = torch.bincount(digits.train_labels)
    assert counts.min() > 130
    assert counts.sum() == 1437


def test_a_data_set_survives_the_trip_as_arrays(digits: Dataset) -> None:
    arrays = digits.to_arrays()
    for value in arrays.values():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False  # as an object store hands them out
    again = Dataset.from_arrays(arrays)
    assert (again.name, again.classes) == ("digits", 10)
    for field in ("train_images", "train_labels", "test_images", "test_labels"):
        assert torch.equal(getattr(again, field), getattr(digits, field))
    again.train_images.zero_()
    assert digits.train_images.any()


def test_a_data_set_moves_to_a_device(digits: Dataset) -> None:
    moved = digits.to("meta")
    assert moved.train_images.device.type == moved.test_labels.device.type == "meta"
    assert (moved.name, moved.classes, moved.input_shape) == ("digits", 10, (1, 8, 8))


@pytest.mark.parametrize(("fraction", "held_out"), [(0.1, 144), (0.5, 718), (0.0004, 1), (0.9, 1293)])
def test_the_split_has_exact_sizes_and_no_overlap(digits: Dataset, fraction: float, held_out: int) -> None:
    train, validation = data.split(digits, TrainConfig(validation_fraction=fraction))
    assert len(validation) == held_out
    assert sorted(train.tolist() + validation.tolist()) == list(range(1437))


def test_the_split_depends_on_the_data_seed_alone(digits: Dataset) -> None:
    first, second = (data.split(digits, TrainConfig(seed=seed, learning_rate=seed + 0.5)) for seed in (0, 1))
    assert all(torch.equal(own, other) for own, other in zip(first, second, strict=True))
    _, other = data.split(digits, TrainConfig(data_seed=1))
    assert not torch.equal(first[1], other)


@pytest.mark.parametrize(
    ("fraction", "batch_size", "text"),
    [
        (0.5, 720, "training part >= batch_size 720 and validation part >= 1 must hold, but got 719 and 718 images."),
        (1e-4, 128, "training part >= batch_size 128 and validation part >= 1 must hold, but got 1437 and 0 images."),
    ],
)
def test_a_split_without_enough_images_is_refused(digits: Dataset, fraction: float, batch_size: int, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        data.split(digits, TrainConfig(validation_fraction=fraction, batch_size=batch_size))
    assert str(caught.value) == f"dataset digits: {text} Lower batch_size or change validation_fraction."


@given(
    count=st.integers(20, 200),
    batch_size=st.integers(1, 20),
    epoch=st.integers(0, 10**6),
    seed=st.integers(0, 2**63 - 1),
)
def test_an_epoch_takes_full_batches_without_repeats(count: int, batch_size: int, epoch: int, seed: int) -> None:
    indices = torch.arange(count) * 3 + 5
    order = data.batches(indices, TrainConfig(batch_size=batch_size, data_seed=seed), epoch)
    assert order.shape == (count // batch_size, batch_size)
    assert len(order.unique()) == order.numel()
    assert set(order.flatten().tolist()) <= set(indices.tolist())


def test_every_epoch_has_an_order_of_its_own_and_skips_other_images() -> None:
    indices, config = torch.arange(100), TrainConfig(batch_size=30)
    orders = [data.batches(indices, config, epoch) for epoch in range(8)]
    assert len({tuple(order.flatten().tolist()) for order in orders}) == 8
    skipped = [frozenset(range(100)) - set(order.flatten().tolist()) for order in orders]
    assert len(set(skipped)) == 8


def test_the_order_is_the_same_for_all_trials_of_a_sweep() -> None:
    indices = torch.arange(100)
    first = data.batches(indices, TrainConfig(batch_size=10, seed=1, pruning_rate=0.1), 3)
    torch.manual_seed(5)
    assert torch.equal(first, data.batches(indices, TrainConfig(batch_size=10, seed=2, pruning_rate=0.9), 3))
    assert not torch.equal(first, data.batches(indices, TrainConfig(batch_size=10, data_seed=1), 3))


def test_standardised_images_equal_plain_numpy(digits: Dataset, patches: Dataset) -> None:
    for images in (digits.train_images[:50], patches.train_images[:50]):
        found = data.standardise(images, torch.float64)
        for own, image in zip(found, images.numpy().astype(np.float64), strict=True):
            expected = (image - image.mean()) / max(image.std(), 1 / math.sqrt(image.size))
            np.testing.assert_allclose(own.numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("level", [0, 7, 255])
def test_a_constant_image_becomes_zeros(dtype: torch.dtype, level: int) -> None:
    found = data.standardise(torch.full((2, 3, 32, 32), level, dtype=torch.uint8), dtype)
    assert found.dtype == dtype
    assert not found.any()


def test_a_nearly_constant_image_is_not_blown_up() -> None:
    images = torch.zeros(3, 1, 100, 100, dtype=torch.uint8)
    images[:, 0, 0, 0] = 1  # standard deviation 0.009999, below 1 / sqrt(10000)
    found = data.standardise(images, torch.float64)
    assert found.max().item() == pytest.approx(0.9999 / 0.01)


def test_bfloat16_images_are_the_rounded_float32_ones(digits: Dataset) -> None:
    exact = data.standardise(digits.test_images, torch.float32)
    assert torch.equal(data.standardise(digits.test_images, torch.bfloat16), exact.to(torch.bfloat16))


@pytest.mark.parametrize(
    ("name", "near"),
    [("minst", "mnist"), ("CIFAR10", "cifar10"), ("fashion-mnist", "fashion_mnist"), ("digit", "digits")],
)
def test_an_unknown_name_gets_the_nearest_one(name: str, near: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        data.load(name, tmp_path)
    assert str(caught.value) == (
        "dataset: must be one of digits, mnist, fashion_mnist, cifar10, cifar100, cifar10-jpeg or folder:NAME, "
        f"but got {name!r}. Did you mean {near!r}?"
    )


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc", "", "a\0b"])
def test_a_folder_outside_the_root_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        data.load(f"folder:{name}", tmp_path)
    assert str(caught.value) == (
        f"dataset: folder:NAME must name a folder under {tmp_path}, but got {name!r}. Leave out '..' and '/'."
    )


def test_a_data_set_cannot_be_changed(digits: Dataset) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        digits.classes = 3  # type: ignore[misc]


@pytest.mark.mnist
def test_mnist_is_the_real_one(shared_data: Path) -> None:
    mnist = data.load("mnist", shared_data)
    assert mnist.train_images.shape == (60_000, 1, 28, 28)
    assert mnist.test_images.shape == (10_000, 1, 28, 28)
    assert mnist.classes == 10
    assert mnist.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert torch.bincount(mnist.test_labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    # Published for the training set: mean 0.1307, standard deviation 0.3081 of the levels over 255.
    assert mnist.train_images.double().mean().item() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert mnist.train_images.double().std().item() / 255 == pytest.approx(0.3081, abs=5e-5)
