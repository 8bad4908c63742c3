"""Trained networks as files."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save
from torch import Tensor

from supermask import sealed
from supermask.artifact import Artifact
from supermask.config import ConfigError, TrainConfig
from supermask.pack import Pack
from tests.supermask.trained import CASES, METRICS, digits, trained

SHAPE = (1, 2, 3)


def artifact(method: str = "signed", seed: int = 0, **changes: Any) -> Artifact:
    """A small network with masks out of nowhere."""
    config = TrainConfig(method=method, width=0.05, seed=seed, **changes)
    random = np.random.default_rng(seed)
    shapes = {"linear1": (15, 6), "linear2": (5, 15), "linear3": (4, 5)}
    low = -1 if method == "signed" else 0
    masks = {name: torch.from_numpy(random.integers(low, 2, shape).astype(np.int8)) for name, shape in shapes.items()}
    values = {}
    if method == "dense":
        values = {f"{name}.weights": torch.randn(shape) for name, shape in shapes.items()}
        masks = {name: torch.ones_like(mask) for name, mask in masks.items()}
    return Artifact(config, SHAPE, 4, masks, values, METRICS)


def assert_equal(found: Artifact, expected: Artifact) -> None:
    assert (found.config, found.input_shape, found.classes) == (
        expected.config,
        expected.input_shape,
        expected.classes,
    )
    assert found.metrics == expected.metrics
    for part in ("masks", "values"):
        ours, theirs = getattr(found, part), getattr(expected, part)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) and ours[name].dtype == theirs[name].dtype for name in ours)


def digest(parts: dict[str, Tensor]) -> str:
    found = hashlib.sha256()
    for name in sorted(parts):
        found.update(name.encode() + parts[name].contiguous().numpy().tobytes())
    return found.hexdigest()


@pytest.mark.parametrize(("method", "network"), CASES)
def test_what_is_written_is_read(method: str, network: str, tmp_path: Path) -> None:
    pack = trained(method, network)
    for lane in (0, 1):
        written = Artifact.of(pack, lane, METRICS)
        assert written.masks.keys() == pack.mask(lane).keys()
        path = tmp_path / f"{lane}.safetensors"
        path.write_bytes(written.to_bytes())
        read = Artifact.load(path)
        assert_equal(read, written)
        assert read.to_bytes() == written.to_bytes()
        assert digest(read.weights()) == digest(written.weights())


def test_a_fresh_process_reads_the_same(tmp_path: Path, fresh_process: Callable[[str], str]) -> None:
    expected = {}
    for method, network in CASES:
        written = Artifact.of(trained(method, network), 0, METRICS)
        (tmp_path / f"{method}-{network}").write_bytes(written.to_bytes())
        digests = [digest(part) for part in (written.masks, written.values, written.weights())]
        expected[f"{method}-{network}"] = [*digests, written.metrics, written.config.to_dict()]
    code = f"""
import hashlib, json, pathlib
from supermask.artifact import Artifact
def digest(parts):
    found = hashlib.sha256()
    for name in sorted(parts):
        found.update(name.encode() + parts[name].contiguous().numpy().tobytes())
    return found.hexdigest()
rows = {{}}
for path in pathlib.Path({str(tmp_path)!r}).iterdir():
    read = Artifact.load(path)
    digests = [digest(part) for part in (read.masks, read.values, read.weights())]
    rows[path.name] = [*digests, read.metrics, read.config.to_dict()]
print(json.dumps(rows))
"""
    assert json.loads(fresh_process(code)) == expected


def test_an_artifact_stays_as_it_was_when_training_goes_on() -> None:
    config = TrainConfig(dataset="digits", method="dense", width=0.1, batch_size=256)
    pack = Pack([config], digits(), dtype=torch.float32)
    kept = Artifact.of(pack, 0, {})
    before = kept.to_bytes()
    pack.train_epoch()
    assert kept.to_bytes() == before != Artifact.of(pack, 0, {}).to_bytes()


def shown(fraction: float) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(0)
    shapes = {"linear1": (300, 784), "linear2": (100, 300), "linear3": (10, 100)}
    return {name: (torch.rand(s, generator=random) < fraction).to(torch.int8) for name, s in shapes.items()}


@pytest.mark.parametrize(
    ("method", "fraction", "bits"),
    [
        ("signed", 1.0, 2.0),
        ("signed", 0.5, 1.5),
        ("signed", 0.03, 0.28),
        ("signed", 0.017, 0.17),
        ("edge_popup", 1.0, 1.0),
        ("edge_popup", 0.03, 0.25),
    ],
)
def test_a_weight_takes_at_most_two_bits_and_a_hidden_one_fewer(method: str, fraction: float, bits: float) -> None:
    written = Artifact(TrainConfig(method=method), (1, 28, 28), 10, shown(fraction), {}, {}).to_bytes()
    header = 8 + int.from_bytes(written[:8], "little")
    assert len(written) - header <= bits * 266_200 / 8 + 8
    assert header < 2000


def corrupted(data: bytes, random: np.random.Generator) -> bytes:
    """The file with one thing wrong with it."""
    at = int(random.integers(len(data)))
    match random.integers(5):
        case 0:  # a bit anywhere, the header's and its padding's included
            return data[:at] + bytes([data[at] ^ (1 << int(random.integers(8)))]) + data[at + 1 :]
        case 1:
            end = 8 + int.from_bytes(data[:8], "little")
            at = int(random.integers(end))
            return data[:at] + bytes([data[at] ^ (1 << int(random.integers(8)))]) + data[at + 1 :]
        case 2:
            return data[:at]
        case 3:
            return data[:at] + random.bytes(int(random.integers(1, 9))) + data[at:]
        case _:
            size = int(random.integers(1, len(data) // 4))
            first, second = sorted(random.integers(0, len(data) - size, 2).tolist())
            second = max(second, first + size)
            blocks = data[second : second + size], data[first + size : second], data[first : first + size]
            return data[:first] + b"".join(blocks) + data[second + size :]


@pytest.mark.parametrize(("method", "network"), [("signed", "fcn"), ("zhou", "fcn"), ("multi_prize", "resnet20")])
def test_every_corruption_is_refused(method: str, network: str) -> None:
    data = Artifact.of(trained(method, network), 0, METRICS).to_bytes()
    random, refused = np.random.default_rng(5), 0
    while refused < 200:
        bad = corrupted(data, random)
        if bad != data:  # two equal blocks may have changed places
            with pytest.raises(ConfigError, match=r"artifact a file: must .*, but got .*\. "):
                Artifact.from_bytes(bad, "a file")
            refused += 1


def test_every_bit_of_the_header_counts() -> None:
    data = artifact().to_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    for at in {*range(0, end, 3), end - 1}:
        with pytest.raises(ConfigError, match="artifact f: must "):
            Artifact.from_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], "f")


def test_newer_older_and_foreign_files_are_refused() -> None:
    foreign = save({"x": np.zeros(3)})
    with pytest.raises(
        ConfigError, match=r"artifact f: must be a file of format signed-supermask, but got format None"
    ):
        Artifact.from_bytes(foreign, "f")
    newer = save({"x": np.zeros(3)}, {"format": "signed-supermask", "version": "3"})
    with pytest.raises(ConfigError, match=r"artifact f: must have version 2, but got version 3\. Update this package"):
        Artifact.from_bytes(newer, "f")
    older = save({"x": np.zeros(3)}, {"format": "signed-supermask", "version": "1"})
    with pytest.raises(ConfigError, match=r"artifact f: must have version 2, but got version 1\. Train it again\."):
        Artifact.from_bytes(older, "f")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"must be a file that can be read, but got: No such file .*\. Check the path"
    ):
        Artifact.load(tmp_path / "nothing")
    with pytest.raises(ConfigError, match=r"must be a file that can be read, but got: Is a directory"):
        Artifact.load(tmp_path)


def rewritten(method: str, part: str, name: str, value: Any) -> bytes:
    """A file with a correct checksum over one other value; None takes the value out."""
    text, arrays = sealed.unseal(artifact(method).to_bytes(), "f")
    content = json.loads(text)
    holder = {"arrays": arrays, "content": content, "config": content["config"]}[part]
    holder.pop(name, None)
    if value is not None:
        holder[name] = value
    return sealed.seal(json.dumps(content), arrays)


NO_BITS = np.zeros(12, np.uint8)


@pytest.mark.parametrize(
    ("method", "part", "name", "value", "message"),
    [
        ("signed", "config", "width", 0.5, "the mask of linear1 must hold 900 bits, but got 12 bytes"),
        ("signed", "config", "width", -1, "TrainConfig.width: 0 < width"),
        ("signed", "config", "nonsense", 1, "TrainConfig.nonsense: no such field exists"),
        ("signed", "config", "method", "zhou", "the mask of linear1 must hold bits or gaps, but got bits, signs"),
        ("signed", "config", "network", "conv4", "network conv4: images must be at least"),
        ("signed", "config", "network", "resnet20", "the mask of stem.conv must hold bits or gaps, and signs, but got"),
        ("signed", "content", "config", 3, "config must be fields and values"),
        ("signed", "content", "input_shape", [1, 2], "input_shape must be channels, height and width"),
        ("signed", "content", "input_shape", [1, 2, 3.5], "1 <= size <= 65536 must hold"),
        ("signed", "content", "input_shape", 7, "not iterable"),
        ("signed", "content", "input_shape", [60000] * 3, "a network of .* weights where"),
        ("signed", "content", "classes", 0, "1 <= size <= 65536 must hold"),
        ("signed", "content", "classes", 5, "the mask of linear3 must hold 25 bits"),
        ("signed", "content", "classes", None, "the header must hold classes, config, input_shape, metrics"),
        ("signed", "content", "metrics", {"a": "b"}, "metrics must be numbers"),
        ("signed", "arrays", "linear2.signs", None, "linear2 must hold bits or gaps, and signs, but got bits"),
        ("signed", "arrays", "linear2.bits", None, "linear2 must hold bits or gaps, and signs, but got signs"),
        ("signed", "arrays", "x", np.zeros(3, np.float32), "values must hold x of shape None, but got"),
        ("signed", "arrays", "x", np.zeros(3), "x must be of float32, not float64"),
        ("signed", "arrays", "linear1.bits", np.zeros(12), "linear1 must be stored in bytes, but got another type"),
        ("signed", "arrays", "linear1.bits", NO_BITS, "linear1 must hold 0 bits, but got"),
        (
            "dense",
            "arrays",
            "linear2.weights",
            None,
            r"values must hold linear2.weights of shape \(5, 15\), but got N",
        ),
        ("dense", "arrays", "linear2.weights", np.zeros(4, np.float32), r"of shape \(5, 15\), but got \(4,\)"),
    ],
)
def test_what_does_not_fit_its_configuration_is_refused(
    method: str, part: str, name: str, value: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=f"artifact f: its parts must fit each other, but got: .*({message})"):
        Artifact.from_bytes(rewritten(method, part, name, value), "f")


def test_parts_that_do_not_fit_cannot_be_put_together() -> None:
    good = artifact()
    with pytest.raises(ConfigError, match=r"artifact: masks must hold linear4 of shape None, but got \(2,\)"):
        replace(good, masks={**good.masks, "linear4": torch.zeros(2, dtype=torch.int8)})
    with pytest.raises(ConfigError, match=r"masks must hold linear3 of shape \(4, 5\), but got None\. Take them from"):
        replace(good, masks={name: mask for name, mask in good.masks.items() if name != "linear3"})
    with pytest.raises(ConfigError, match=r"the mask of linear1 must have entries 0, 1 with method edge_popup"):
        replace(good, config=TrainConfig(width=0.05, method="edge_popup"))
    with pytest.raises(ConfigError, match=r"the mask of linear2 must have entries -1, 0, 1 with method signed"):
        replace(good, masks={**good.masks, "linear2": torch.full((5, 15), 2, dtype=torch.int8)})


def test_the_file_is_an_ordinary_safetensors_file() -> None:
    arrays = load(artifact().to_bytes())
    assert sorted(arrays) == [f"linear{n}.{part}" for n in (1, 2, 3) for part in ("bits", "signs")]
