"""The same of a folder, which PyArrow takes for a store, and of a server of the S3 protocol."""

import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sweeps import results
from sweeps.display.watch import watch
from sweeps.doctor import Finding, object_store
from sweeps.errors import SweepError
from sweeps.remote.client import ObjectStore
from sweeps.remote.root import fetch
from sweeps.results import ResultsWriter
from sweeps.store.cache import cached_root
from sweeps.store.paths import SweepPaths
from sweeps.stored import StoredSweep
from tests.sweeps.heartbeats import beat
from tests.sweeps.s3_server import BUCKET, environment, s3_server


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with s3_server() as started:
        yield started


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    if request.param == "file":
        return ObjectStore((tmp_path / "store").as_uri())
    for name, value in environment(request.getfixturevalue("port")).items():
        monkeypatch.setenv(name, value)
    return ObjectStore(f"s3://{BUCKET}/{tmp_path.name}")


def test_files_are_put_listed_brought_and_deleted(store: ObjectStore, tmp_path: Path) -> None:
    assert store.files() == store.files("digits") == {}
    assert store.folders() == []
    (tmp_path / "here").write_bytes(b"abc" * 1000)
    stamps = {
        "digits/trials/part-1.parquet": store.put(tmp_path / "here", "digits/trials/part-1.parquet"),
        "digits/space.yaml": store.put(b"name: digits", "digits/space.yaml"),
        "other/space.yaml": store.put(b"", "other/space.yaml"),
    }
    assert store.files() == stamps
    assert store.files("digits/trials").keys() == {"digits/trials/part-1.parquet"}
    assert store.folders() == ["digits", "other"]
    assert {name: stamp.size for name, stamp in stamps.items()} == {
        "digits/trials/part-1.parquet": 3000, "digits/space.yaml": 12, "other/space.yaml": 0,
    }  # fmt: skip
    assert abs(stamps["digits/space.yaml"].time / 1e9 - time.time()) < 60
    assert store.read("digits/space.yaml") == b"name: digits"
    store.get("digits/trials/part-1.parquet", tmp_path / "a/b/there", stamps["digits/trials/part-1.parquet"])
    assert (tmp_path / "a/b/there").read_bytes() == b"abc" * 1000
    assert (tmp_path / "a/b/there").stat().st_mtime_ns == stamps["digits/trials/part-1.parquet"].time
    store.delete("digits/trials/part-1.parquet")
    store.delete("digits/trials/part-1.parquet")
    assert store.stamp("digits/trials/part-1.parquet") is None
    assert store.stamp("digits/space.yaml") == stamps["digits/space.yaml"]


def test_a_sweep_is_watched_from_the_store_while_its_driver_writes_there(
    store: ObjectStore,
    tmp_path: Path,
    ended_row: Callable[..., dict[str, Any]],
    write_sweep: Callable[..., SweepPaths],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SWEEPS_CACHE", str(tmp_path / "cache"))
    driver = write_sweep(tmp_path / "driver", [ended_row(0)], asked=3)
    reader = SweepPaths(cached_root(store.uri), driver.name)
    seen, states = list[int](), iter(("running", "running", "finished"))

    def look() -> StoredSweep:
        beat(driver, next(states))
        for path in driver.folder.rglob("*"):
            if path.is_file():
                store.put(path, f"{driver.name}/{path.relative_to(driver.folder)}")
        fetch(reader, summary=True)
        seen.append(results.load(reader.root, reader.name).num_rows)
        writer = ResultsWriter(driver.folder)
        writer.add_trials(results.trials_table([ended_row(len(seen))]))
        writer.flush()
        return StoredSweep.at(reader)

    row = watch(look, Console(file=io.StringIO(), width=100), seconds=0.0)
    assert seen == [1, 2, 3]
    assert (row["state"], row["trials"]["finished"]) == ("finished", 3)


def test_what_was_put_again_is_the_newer_one(store: ObjectStore) -> None:
    first = store.put(b"one", "x/file")
    second = store.put(b"three", "x/file")
    assert store.read("x/file") == b"three"
    assert store.files("x") == {"x/file": second} != {"x/file": first}


def test_what_is_missing_is_a_missing_file(store: ObjectStore, tmp_path: Path) -> None:
    stamp = store.put(b"", "x/file")
    with pytest.raises(FileNotFoundError):
        store.get("x/missing", tmp_path / "there", stamp)
    assert list(tmp_path.glob("**/*there*")) == []


def test_a_store_that_does_not_answer_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(1).items():
        monkeypatch.setenv(name, value)
    store = ObjectStore("s3://bucket/prefix")
    with pytest.raises(OSError, match=r"^s3://bucket/prefix: .*") as raised:
        store.put(b"", "file")
    assert "\n" not in str(raised.value)


def test_an_address_that_pyarrow_does_not_know_is_refused() -> None:
    with pytest.raises(SweepError) as raised:
        ObjectStore("ftp://host/x")
    assert raised.value.message == (
        "root ftp://host/x: must be the address of an object store, but got: Unrecognized filesystem type in URI: "
        "ftp://host/x. Write for example s3://bucket/prefix."
    )


def test_the_doctor_says_whether_a_store_takes_what_is_written(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWEEPS_CACHE", str(tmp_path / "cache"))
    assert list(object_store(tmp_path)) == []  # a folder needs no store
    root = cached_root(store.uri)
    (found,) = object_store(root)
    assert found == Finding("store", "ok", f"{store.uri} can be written")
    assert store.files() == {}
    if store.uri.startswith("s3"):
        (found,) = object_store(cached_root("s3://no-such-bucket/sweeps"))
        assert (found.check, found.state) == ("store", "fault")
        assert found.found.startswith("root s3://no-such-bucket/sweeps: the store must answer, but got: ")
        assert found.remedy.startswith("Check the address, the network and the credentials")
