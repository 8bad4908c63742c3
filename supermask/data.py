"""Datasets as uint8 images that live on the device: load, split, order, standardise."""

import difflib
import math
import os
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from supermask.config import ConfigError, TrainConfig

ROOT_VARIABLE = "SUPERMASK_DATA"
DEFAULT_ROOT = Path("~/.cache/supermask-data")

_TORCHVISION = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "CIFAR10", "cifar100": "CIFAR100"}
_FOLDERS = {
    "mnist": "MNIST/raw",
    "fashion_mnist": "FashionMNIST/raw",
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
}
_IMAGE_FOLDERS = {"cifar10-jpeg": "cifar10"}
"""Names of our own for folders of images: CIFAR-10 re-encoded as JPEG is lossy and must not pass for CIFAR-10."""
_FOLDER_PREFIX = "folder:"
NAMES = ("digits", *_TORCHVISION, *_IMAGE_FOLDERS)


@dataclass(frozen=True)
class Dataset:
    """Images and labels of one dataset.

    Attributes:
        name: As in `TrainConfig.dataset`.
        train_images: For training and validation, `[image, channel, height, width]`, 0 to 255.
        train_labels: Class of each training image, from 0.
        test_images: For confirmation only.
        test_labels: Class of each test image.
        classes: Number of classes.
    """

    name: str
    train_images: UInt8[Tensor, "train channel height width"]
    train_labels: Int64[Tensor, " train"]
    test_images: UInt8[Tensor, "test channel height width"]
    test_labels: Int64[Tensor, " test"]
    classes: int

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """`(channels, height, width)` of an image."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width

    def to(self, device: torch.device | str) -> "Dataset":
        """The same data on a device."""
        return replace(self, **{name: getattr(self, name).to(device) for name in _TENSORS})

    def to_arrays(self) -> dict[str, Any]:
        """Name, classes and NumPy arrays: what travels through an object store without a copy."""
        tensors = {name: getattr(self, name).cpu().numpy() for name in _TENSORS}
        return {"name": self.name, "classes": self.classes, **tensors}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> "Dataset":
        """The inverse of `to_arrays`. Read-only arrays of an object store are copied into this process."""
        tensors = {name: torch.from_numpy(np.array(arrays[name])) for name in _TENSORS}
        return cls(name=arrays["name"], classes=arrays["classes"], **tensors)


_TENSORS = ("train_images", "train_labels", "test_images", "test_labels")


def load(name: str, root: str | Path | None = None, *, download: bool = False) -> Dataset:
    """Reads a dataset from disk.

    Args:
        name: `digits` (inside scikit-learn, no file needed), `mnist`, `fashion_mnist`, `cifar10`, `cifar100`
            (torchvision's layouts), `cifar10-jpeg` (images by class under `cifar10/`), or `folder:NAME`
            (images by class under `NAME/train/CLASS/` and `NAME/test/CLASS/`, all of one size).
        root: Folder that holds the datasets; else the environment variable `SUPERMASK_DATA`, else
            `~/.cache/supermask-data`.
        download: Whether torchvision may fetch what is missing.

    Raises:
        ConfigError: If the name is unknown, or the files are missing or unusable; names the expected folder.
    """
    folder = folder_of(root)
    if name == "digits":
        return _digits()
    if name in _TORCHVISION:
        return _torchvision(name, folder, download)
    if name in _IMAGE_FOLDERS:
        return _image_folder(name, folder / _IMAGE_FOLDERS[name])
    if name.startswith(_FOLDER_PREFIX):
        return _image_folder(name, _inside(folder, name.removeprefix(_FOLDER_PREFIX)))
    near = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.0)[0]
    raise ConfigError(
        f"dataset: must be one of {', '.join(NAMES)} or {_FOLDER_PREFIX}NAME, but got {name!r}. Did you mean {near!r}?"
    )


def folder_of(root: str | Path | None = None) -> Path:
    """The folder that holds the datasets: `root`, else `SUPERMASK_DATA`, else `~/.cache/supermask-data`."""
    return Path(root or os.environ.get(ROOT_VARIABLE) or DEFAULT_ROOT).expanduser()


def present(root: str | Path | None = None) -> list[str]:
    """Names of the datasets whose folders lie in `folder_of(root)`, read by none; the digits need no folder."""
    folder = folder_of(root)
    named = [name for name, place in _FOLDERS.items() if (folder / place).is_dir()]
    pictured = [name for name, place in _IMAGE_FOLDERS.items() if _has_parts(folder / place)]
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    own = [entry.name for entry in entries if entry.name not in _IMAGE_FOLDERS.values() and _has_parts(entry)]
    return named + pictured + [_FOLDER_PREFIX + name for name in own]


def _has_parts(folder: Path) -> bool:
    return all((folder / part).is_dir() for part in ("train", "test"))


def split(dataset: Dataset, config: TrainConfig) -> tuple[Int64[Tensor, " train"], Int64[Tensor, " validation"]]:
    """Indices of the training part and of the held-out validation part, drawn from `data_seed` alone.

    Raises:
        ConfigError: If either part would be too small to use.
    """
    count = len(dataset.train_labels)
    held_out = round(config.validation_fraction * count)
    if held_out < 1 or count - held_out < config.batch_size:
        raise ConfigError(
            f"dataset {dataset.name}: training part >= batch_size {config.batch_size} and validation part >= 1 must "
            f"hold, but got {count - held_out} and {held_out} images. Lower batch_size or change validation_fraction."
        )
    order = np.random.Generator(np.random.PCG64(np.random.SeedSequence([config.data_seed]))).permutation(count)
    return torch.from_numpy(order[held_out:].copy()), torch.from_numpy(np.sort(order[:held_out]))


def batches(indices: Int64[Tensor, " train"], config: TrainConfig, epoch: int) -> Int64[Tensor, "step batch"]:
    """The order of one epoch: depends on `data_seed` and the epoch only, so all trials of a sweep share it.

    The images left over after the last full batch are skipped; they are others in every epoch.
    """
    seed = np.random.SeedSequence([config.data_seed, 1 + epoch])
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(indices))
    steps = len(indices) // config.batch_size
    return indices[torch.from_numpy(order[: steps * config.batch_size])].view(steps, config.batch_size)


CROP_PADDING = 4
"""Zeros around an image before it is cropped at random to its old size (arXiv 2201.13361, ResNets)."""


def crops_and_flips(config: TrainConfig, epoch: int, steps: int) -> Int64[Tensor, "step batch 3"] | None:
    """What happens to each image of an epoch: rows and columns that the crop starts at, and whether it is flipped.

    Depends on `data_seed` and the epoch only, so all trials of a sweep see the same images. None without augmentation.
    """
    if config.augmentation == "none":
        return None
    seed = np.random.SeedSequence([config.data_seed, 1 + epoch, 1])
    ends = [2 * CROP_PADDING + 1, 2 * CROP_PADDING + 1, 2]
    random = np.random.Generator(np.random.PCG64(seed))
    return torch.from_numpy(random.integers(ends, size=(steps, config.batch_size, 3)))


def augment(
    images: UInt8[Tensor, "batch channel height width"], moves: Int64[Tensor, "batch 3"] | None
) -> UInt8[Tensor, "batch channel height width"]:
    """Crops and flips a batch on its device, as `crops_and_flips` says."""
    if moves is None:
        return images
    height, width = images.shape[2:]
    down, right, flipped = moves[:, :, None].unbind(1)
    columns = torch.arange(width, device=images.device)[None]
    columns = torch.where(flipped == 1, width - 1 - columns, columns) + right
    rows = torch.arange(height, device=images.device)[None] + down
    padded = torch.nn.functional.pad(images, [CROP_PADDING] * 4)
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    # Indexing puts the batch, rows and columns first and leaves the channels last.
    return padded[batch, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def standardise(
    images: UInt8[Tensor, "batch channel height width"], dtype: torch.dtype
) -> Float[Tensor, "batch channel height width"]:
    """Each image by itself: minus its mean, over max(its standard deviation, 1 / sqrt(its number of values))."""
    wide = images.to(torch.float64 if dtype == torch.float64 else torch.float32)
    centred = wide - wide.mean(dim=(1, 2, 3), keepdim=True)
    deviation = centred.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    return (centred / deviation.clamp_min(1 / math.sqrt(images[0].numel()))).to(dtype)


def _digits() -> Dataset:
    # The file alone: scikit-learn takes a second to import.
    found = find_spec("sklearn")
    if found is None or not found.submodule_search_locations:
        raise ConfigError("dataset digits: scikit-learn must be installed, which holds it, but is not. Install it.")
    file = Path(found.submodule_search_locations[0]) / "datasets/data/digits.csv.gz"
    table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    # Levels 0..16 become 0..240; every fifth image is the test set, as the file has no split of its own.
    images = torch.from_numpy((table[:, :64] * 15).reshape(-1, 8, 8))[:, None]
    labels = torch.from_numpy(table[:, 64].astype(np.int64))
    is_test = torch.arange(len(labels)) % 5 == 0
    return Dataset("digits", images[~is_test], labels[~is_test], images[is_test], labels[is_test], classes=10)


def _torchvision(name: str, root: Path, download: bool) -> Dataset:
    import torchvision.datasets

    kind = getattr(torchvision.datasets, _TORCHVISION[name])
    try:
        parts = [kind(root, train=train, download=download) for train in (True, False)]
    except (RuntimeError, OSError, ValueError, AssertionError) as error:  # the last two: a file cut short
        raise ConfigError(
            f"dataset {name}: its files must lie in {root / _FOLDERS[name]}, but they could not be read there "
            f"({_reason(error)}). Put them there, name another folder (--data DIR or {ROOT_VARIABLE}), "
            "or allow the download (--download)."
        ) from error
    (train_images, train_labels), (test_images, test_labels) = ((_pixels(p.data), _labels(p.targets)) for p in parts)
    return Dataset(name, train_images, train_labels, test_images, test_labels, classes=len(parts[0].classes))


def _pixels(
    data: UInt8[Tensor, "image height width"] | UInt8[np.ndarray, "image height width channel"],
) -> UInt8[Tensor, "image channel height width"]:
    """Gives torchvision's `[image, height, width]` or `[image, height, width, channel]` with channels first."""
    images = torch.as_tensor(data)
    return images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()


def _labels(targets: Tensor | list[int]) -> Tensor:
    return torch.as_tensor(targets, dtype=torch.int64)


def _reason(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _inside(root: Path, name: str) -> Path:
    folder = (root / name.replace("\0", "")).resolve()
    if not name or "\0" in name or not folder.is_relative_to(root.resolve()):
        raise ConfigError(
            f"dataset: {_FOLDER_PREFIX}NAME must name a folder under {root}, but got {name!r}. Leave out '..' and '/'."
        )
    return folder


def _image_folder(name: str, folder: Path) -> Dataset:
    from torchvision.datasets import ImageFolder

    parts: list[Any] = []
    for part in ("train", "test"):
        try:
            parts.append(ImageFolder(folder / part))
        except OSError as error:
            raise ConfigError(
                f"dataset {name}: images must lie in {folder / part}/CLASS/, but they could not be read there "
                f"({_reason(error)}). Put them there, or name another folder "
                f"(--data DIR or {ROOT_VARIABLE})."
            ) from error
    if parts[0].classes != parts[1].classes:
        raise ConfigError(
            f"dataset {name}: train and test must have the same class folders, but got {parts[0].classes} and "
            f"{parts[1].classes}. Add the missing folders in {folder}."
        )
    (train_images, train_labels), (test_images, test_labels) = (_decode(part, name) for part in parts)
    if train_images.shape[1:] != test_images.shape[1:]:
        raise ConfigError(
            f"dataset {name}: all images must have one size, but train has {tuple(train_images.shape[2:])} and test "
            f"has {tuple(test_images.shape[2:])}. Resize them to one size."
        )
    return Dataset(name, train_images, train_labels, test_images, test_labels, classes=len(parts[0].classes))


def _read_image(part: Any, path: str, name: str) -> UInt8[Tensor, "height width channel"]:
    try:
        return torch.from_numpy(np.array(part.loader(path)))
    except OSError as error:
        raise ConfigError(
            f"dataset {name}: every image must be readable, but {path} is not ({_reason(error)}). "
            "Replace or remove that file."
        ) from error


def _decode(part: Any, name: str) -> tuple[Tensor, Tensor]:
    """Decodes all images of an `ImageFolder` into one tensor, red, green and blue."""
    images: Tensor | None = None
    for index, (path, _) in enumerate(part.samples):
        pixels = _read_image(part, path, name)
        if images is None:
            images = torch.empty((len(part.samples), *pixels.shape), dtype=torch.uint8)
        if pixels.shape != images.shape[1:]:
            raise ConfigError(
                f"dataset {name}: all images must have one size, but {path} has {tuple(pixels.shape[:2])} and the "
                f"first has {tuple(images.shape[1:3])}. Resize them to one size."
            )
        images[index] = pixels
    assert images is not None, "ImageFolder refuses a folder without images"  # noqa: S101
    return images.permute(0, 3, 1, 2).contiguous(), torch.tensor([label for _, label in part.samples])
