"""Choosing lanes by measurements, made-up and real."""

import math
from pathlib import Path

import pytest
import torch

from supermask import data, probe
from supermask.config import TrainConfig
from sweeps.driver import pack_size


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPS_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("times", "chosen"),
    [
        ({1: 1.0}, 1),
        ({1: 1.0, 4: 0.5, 16: 0.3}, 16),
        ({1: 1.0, 4: 0.31, 16: 0.3, 64: 0.32}, 4),  # within five hundredths of the best
        ({1: 1.0, 4: 0.32, 16: 0.3, 64: 0.32}, 16),
    ],
)
def test_the_fewest_lanes_near_the_best(times: dict[int, float], chosen: int) -> None:
    assert pack_size.fewest(times) == chosen


@pytest.mark.parametrize(
    ("truth", "most", "measured"),
    [
        ({1: 1.0, 4: 0.5, 16: 0.3, 64: 0.2, 100: 0.1}, 100, [1, 4, 16, 64, 100]),
        ({1: 1.0, 4: 0.5, 16: 0.9}, 64, [1, 4, 16]),  # slower: larger ones are not tried
        ({1: 1.0, 4: 0.5}, 64, [1, 4]),  # 16 do not fit
        ({}, 64, []),
        ({1: 1.0, 3: 0.5}, 3, [1, 3]),
        ({1: 1.0}, 1, [1]),
    ],
)
def test_sizes_grow_while_that_helps_and_fits(truth: dict[int, float], most: int, measured: list[int]) -> None:
    times = pack_size.grow(truth.get, most)
    assert [size for size, seconds in times.items() if math.isfinite(seconds)] == measured


def test_a_longer_sweep_goes_on_where_a_shorter_one_ended() -> None:
    truth = {1: 1.0, 4: 0.5, 13: 0.3, 52: 0.2}
    short = pack_size.grow(truth.get, 13)
    pack_size.remember("here", short)
    asked = list[int]()
    longer = pack_size.grow(lambda size: asked.append(size) or truth.get(size), 1000, pack_size.recall("here"))
    assert asked == [52, 208]
    pack_size.remember("here", longer)
    assert pack_size.recall("here") == truth | {208: math.inf}
    asked.clear()
    for most in (10_000, 4):  # it is known that 208 do not fit
        assert pack_size.grow(asked.append, most, pack_size.recall("here")) == longer
    assert asked == []
    assert pack_size.fewest(longer) == 52


def test_measurements_are_kept_by_key() -> None:
    assert pack_size.recall("here") is None
    pack_size.remember("here", {1: 0.5, 16: 0.25})
    pack_size.remember("there", {1: 1.5})
    assert pack_size.recall("here") == {1: 0.5, 16: 0.25}
    assert pack_size.recall("there") == {1: 1.5}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"here": 3}', '{"here": {"one": 1}}', '{"here": {"1": null}}'])
def test_a_damaged_file_is_no_obstacle(text: str) -> None:
    pack_size.cache().parent.mkdir()
    pack_size.cache().write_text(text)
    assert pack_size.recall("here") is None
    pack_size.remember("here", {1: 0.5})
    assert pack_size.recall("here") == {1: 0.5}


def test_a_place_that_cannot_be_written_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SWEEPS_CACHE", str(tmp_path / "file"))
    pack_size.remember("here", {1: 0.5})
    assert pack_size.recall("here") is None


def test_a_real_pack_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SECONDS", 0.05)
    config = TrainConfig(dataset="digits", width=0.2, batch_size=64, validation_fraction=0.2)
    images = probe.excerpt(data.load("digits"), config, "cpu")
    assert len(images.train_labels) < 500
    seconds = probe.seconds_per_lane_step(config, images, torch.device("cpu"), lanes=2, threads=1, compiled=False)
    assert seconds is not None
    assert 0 < seconds < 1


@pytest.mark.parametrize(
    ("error", "caught"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError("cannot allocate"), True),
        (ValueError("shapes"), False),
    ],
)
def test_only_want_of_memory_is_no_error(error: Exception, caught: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(probe, "Pack", breaks)
    config = TrainConfig(dataset="digits", batch_size=64, validation_fraction=0.2)
    images = data.load("digits")
    if caught:
        assert (
            probe.seconds_per_lane_step(config, images, torch.device("cpu"), lanes=2, threads=1, compiled=False) is None
        )
    else:
        with pytest.raises(ValueError, match="shapes"):
            probe.seconds_per_lane_step(config, images, torch.device("cpu"), lanes=2, threads=1, compiled=False)
