"""Data sets read from files in torchvision's layouts, generated here."""

import hashlib
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.datasets
from PIL import Image

from supermask import data
from supermask.config import ConfigError
from supermask.data import Dataset

TYPES = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}


def _levels(seed: int, *shape: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _write_idx(file: Path, values: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    """IDX: two zero bytes, 8 for unsigned bytes, the number of dimensions, each size big-endian, the values."""
    file.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    file.write_bytes(header + values.tobytes())


def _write_mnist(folder: Path) -> None:
    for part, count in (("train", 12), ("t10k", 5)):
        _write_idx(folder / f"{part}-images-idx3-ubyte", _levels(count, count, 28, 28))
        _write_idx(folder / f"{part}-labels-idx1-ubyte", np.arange(count, dtype=np.uint8) % 10)


@pytest.mark.parametrize("name", TYPES)
def test_the_idx_layout_of_mnist_and_fashion_mnist(name: str, tmp_path: Path) -> None:
    _write_mnist(tmp_path / TYPES[name] / "raw")
    found = data.load(name, tmp_path)
    assert (found.name, found.classes, found.input_shape) == (name, 10, (1, 28, 28))
    np.testing.assert_array_equal(found.train_images.numpy(), _levels(12, 12, 1, 28, 28))
    np.testing.assert_array_equal(found.test_images.numpy(), _levels(5, 5, 1, 28, 28))
    assert found.train_labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert found.test_labels.tolist() == [0, 1, 2, 3, 4]


def test_the_root_comes_from_the_environment_unless_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write_mnist(tmp_path / "full" / "MNIST/raw")
    monkeypatch.setenv("SUPERMASK_DATA", str(tmp_path / "full"))
    assert len(data.load("mnist").train_labels) == 12
    with pytest.raises(ConfigError, match="its files must lie in"):
        data.load("mnist", tmp_path / "empty")


CIFAR = {
    # torchvision's class, folder, files of the training and test part, key of the labels, key of the class names
    "cifar10": (
        torchvision.datasets.CIFAR10, "cifar-10-batches-py", [f"data_batch_{i}" for i in range(1, 6)], ["test_batch"],
        "labels", "label_names", 10,
    ),
    "cifar100": (
        torchvision.datasets.CIFAR100, "cifar-100-python", ["train"], ["test"], "fine_labels", "fine_label_names", 100,
    ),
}  # fmt: skip


def _pickled(file: Path, content: dict[str, Any]) -> str:
    """Writes a pickle; gives the checksum that torchvision asks for."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(pickle.dumps(content))
    return hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("name", CIFAR)
def test_the_pickled_layout_of_cifar(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, folder, train, test, labels_key, names_key, classes = CIFAR[name]
    for part, files in (("train_list", train), ("test_list", test)):
        sums = [
            _pickled(tmp_path / folder / file, {"data": _levels(k, 4, 3072), labels_key: [k, classes - 1, 2, 3]})
            for k, file in enumerate(files)
        ]
        monkeypatch.setattr(kind, part, [list(pair) for pair in zip(files, sums, strict=True)])
    names = [f"class {index}" for index in range(classes)]
    checksum = _pickled(tmp_path / folder / kind.meta["filename"], {names_key: names})
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": checksum})

    found = data.load(name, tmp_path)

    assert (found.name, found.classes, found.input_shape) == (name, classes, (3, 32, 32))
    assert len(found.train_images) == 4 * len(train)
    for batch in range(len(train)):
        expected = _levels(batch, 4, 3, 32, 32)  # a row holds all red, then all green, then all blue values
        np.testing.assert_array_equal(found.train_images[4 * batch : 4 * batch + 4].numpy(), expected)
        assert found.train_labels[4 * batch : 4 * batch + 4].tolist() == [batch, classes - 1, 2, 3]
    np.testing.assert_array_equal(found.test_images.numpy(), _levels(0, 4, 3, 32, 32))
    assert found.test_images.is_contiguous()


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("mnist", "MNIST/raw"),
        ("fashion_mnist", "FashionMNIST/raw"),
        ("cifar10", "cifar-10-batches-py"),
        ("cifar100", "cifar-100-python"),
    ],
)
def test_missing_files_are_reported_with_the_expected_folder(name: str, folder: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        data.load(name, tmp_path)
    text = str(caught.value)
    assert text.startswith(f"dataset {name}: its files must lie in {tmp_path / folder}, but they could not be read")
    assert text.endswith(
        "Put them there, name another folder (--data DIR or SUPERMASK_DATA), or allow the download (--download)."
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [0, 3, 10, 500])
def test_a_file_cut_short_is_reported(size: int, tmp_path: Path) -> None:
    folder = tmp_path / "MNIST/raw"
    _write_mnist(folder)
    file = folder / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(ConfigError, match=r"dataset mnist: its files must lie in .*, but they could not be read there"):
        data.load("mnist", tmp_path)


def _write_images(root: Path, classes: tuple[str, ...] = ("cat", "dog"), size: tuple[int, int] = (5, 7)) -> None:
    """Two images per part and class, `size` is (height, width)."""
    for p, part in enumerate(("train", "test")):
        for c, name in enumerate(classes):
            for index in range(2):
                file = root / part / name / f"{index}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(_levels(100 * p + 10 * c + index, *size, 3)).save(file)


def _check_images(found: Dataset) -> None:
    assert (found.classes, found.input_shape) == (2, (3, 5, 7))
    for p, (images, labels) in enumerate(
        ((found.train_images, found.train_labels), (found.test_images, found.test_labels))
    ):
        assert labels.tolist() == [0, 0, 1, 1]
        for place, (c, index) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
            expected = _levels(100 * p + 10 * c + index, 5, 7, 3).transpose(2, 0, 1)
            np.testing.assert_array_equal(images[place].numpy(), expected)


@pytest.mark.parametrize(("name", "folder"), [("cifar10-jpeg", "cifar10"), ("folder:my pets", "my pets")])
def test_folders_of_images_by_class(name: str, folder: str, tmp_path: Path) -> None:
    _write_images(tmp_path / folder)
    found = data.load(name, tmp_path)
    assert found.name == name
    _check_images(found)


def test_grey_images_are_read_as_colours(tmp_path: Path) -> None:
    _write_images(tmp_path / "pets")
    grey = Image.fromarray(_levels(0, 5, 7, 3)).convert("L")
    grey.save(tmp_path / "pets/train/cat/0.png")
    found = data.load("folder:pets", tmp_path)
    assert (found.train_images[0] == found.train_images[0, :1]).all()
    np.testing.assert_array_equal(found.train_images[0, 0].numpy(), np.asarray(grey))


def _message(root: Path, name: str = "folder:pets") -> str:
    with pytest.raises(ConfigError) as caught:
        data.load(name, root)
    return str(caught.value)


def test_a_missing_folder_of_images_is_named(tmp_path: Path) -> None:
    text = _message(tmp_path, "cifar10-jpeg")
    expected = tmp_path / "cifar10" / "train"
    assert text.startswith(f"dataset cifar10-jpeg: images must lie in {expected}/CLASS/, but they could not be read")
    assert text.endswith("Put them there, or name another folder (--data DIR or SUPERMASK_DATA).")


def test_an_empty_class_folder_is_reported(tmp_path: Path) -> None:
    _write_images(tmp_path / "pets")
    (tmp_path / "pets/test/emu").mkdir()
    text = _message(tmp_path)
    assert text.startswith(f"dataset folder:pets: images must lie in {tmp_path / 'pets/test'}/CLASS/, but")
    assert "emu" in text


def test_a_class_without_test_images_is_reported(tmp_path: Path) -> None:
    _write_images(tmp_path / "pets")
    for image in (tmp_path / "pets/test/dog").iterdir():
        image.unlink()
    (tmp_path / "pets/test/dog").rmdir()
    assert _message(tmp_path) == (
        "dataset folder:pets: train and test must have the same class folders, but got ['cat', 'dog'] and ['cat']. "
        f"Add the missing folders in {tmp_path / 'pets'}."
    )


def test_images_of_two_sizes_are_refused(tmp_path: Path) -> None:
    _write_images(tmp_path / "pets")
    odd = tmp_path / "pets/train/dog/1.png"
    Image.fromarray(_levels(0, 5, 8, 3)).save(odd)
    assert _message(tmp_path) == (
        f"dataset folder:pets: all images must have one size, but {odd} has (5, 8) and the first has (5, 7). "
        "Resize them to one size."
    )


def test_training_and_test_images_of_two_sizes_are_refused(tmp_path: Path) -> None:
    _write_images(tmp_path / "pets")
    for image in (tmp_path / "pets/test").glob("*/*.png"):
        Image.fromarray(_levels(0, 6, 7, 3)).save(image)
    assert _message(tmp_path) == (
        "dataset folder:pets: all images must have one size, but train has (5, 7) and test has (6, 7). "
        "Resize them to one size."
    )


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    _write_images(tmp_path / "pets")
    bad = tmp_path / "pets/test/cat/0.png"
    bad.write_bytes(b"not an image")
    text = _message(tmp_path)
    assert text.startswith(f"dataset folder:pets: every image must be readable, but {bad} is not (cannot identify")
    assert text.endswith("Replace or remove that file.")
