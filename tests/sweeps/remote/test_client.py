"""The client against a real server of the S3 protocol."""

import io
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sweeps import results
from sweeps.display.watch import watch
from sweeps.doctor import Finding, object_store
from sweeps.errors import SweepError
from sweeps.remote.client import ObjectStore
from sweeps.remote.root import fetch, sending
from sweeps.results import ResultsWriter
from sweeps.store.cache import cached_root
from sweeps.store.paths import SweepPaths
from sweeps.stored import StoredSweep
from tests.sweeps.heartbeats import beat
from tests.sweeps.s3_server import BUCKET, environment, s3_server


@pytest.fixture
def store(store_uri: str) -> ObjectStore:
    return ObjectStore(store_uri)


def test_files_are_put_listed_brought_and_deleted(store: ObjectStore, tmp_path: Path) -> None:
    assert store.files() == store.files("digits") == {}
    assert store.folders() == []
    (tmp_path / "here").write_bytes(b"abc" * 1000)
    e_tags = {
        "digits/trials/part-1.parquet": store.put(tmp_path / "here", "digits/trials/part-1.parquet"),
        "digits/space.yaml": store.put(b"name: digits", "digits/space.yaml"),
        "other/space.yaml": store.put(b"", "other/space.yaml"),
    }
    found = store.files()
    assert {name: version.e_tag for name, version in found.items()} == e_tags
    assert store.files("digits/trials").keys() == {"digits/trials/part-1.parquet"}
    assert store.folders() == ["digits", "other"]
    assert {name: version.size for name, version in found.items()} == {
        "digits/trials/part-1.parquet": 3000, "digits/space.yaml": 12, "other/space.yaml": 0,
    }  # fmt: skip
    assert abs(found["digits/space.yaml"].mtime_ns / 1e9 - time.time()) < 60
    assert store.read("digits/space.yaml") == b"name: digits"
    name = "digits/trials/part-1.parquet"
    assert store.download(name, tmp_path / "a/b/there", found[name].mtime_ns) == e_tags[name]
    assert (tmp_path / "a/b/there").read_bytes() == b"abc" * 1000
    assert (tmp_path / "a/b/there").stat().st_mtime_ns == found[name].mtime_ns
    store.delete(name)
    store.delete(name)
    assert store.version(name) is None
    assert store.version("digits/space.yaml") == found["digits/space.yaml"]


def test_a_file_of_many_blocks_arrives_whole(store: ObjectStore, tmp_path: Path) -> None:
    content = bytes(range(256)) * 80_000  # 20 MB: three parts of an upload
    (tmp_path / "here").write_bytes(content)
    e_tag = store.put(tmp_path / "here", "x/file")
    assert store.download("x/file", tmp_path / "there", 0) == e_tag == store.files()["x/file"].e_tag
    assert (tmp_path / "there").read_bytes() == content


def test_of_two_writers_one_creates_and_one_replaces(store: ObjectStore) -> None:
    first = store.compare_and_swap(b"one", "x/file", None)
    with pytest.raises(FileExistsError, match="x/file was written by somebody else"):
        store.compare_and_swap(b"other", "x/file", None)
    assert store.read("x/file") == b"one"
    second = store.compare_and_swap(b"two", "x/file", first)
    for expected in (first, None):
        with pytest.raises(FileExistsError):
            store.compare_and_swap(b"other", "x/file", expected)
    with pytest.raises(FileExistsError):
        store.compare_and_swap(b"other", "x/missing", second)
    assert store.read("x/file") == b"two"
    assert store.files().keys() == {"x/file"}


def test_of_many_that_replace_a_version_at_the_same_instant_one_does(store: ObjectStore) -> None:
    def replace(content: str, expected: str | None, start: threading.Barrier) -> str | None:
        start.wait(30)
        with suppress(FileExistsError):
            return store.compare_and_swap(content.encode(), "x/file", expected)
        return None

    expected: str | None = None
    with ThreadPoolExecutor(8) as pool:
        for turn in range(20):
            start = threading.Barrier(8)

            tries = [pool.submit(replace, f"{turn} {writer}", expected, start) for writer in range(8)]
            done = [e_tag for e_tag in (tried.result() for tried in tries) if e_tag]
            assert len(done) == 1
            (expected,) = done


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
    assert store.files("x")["x/file"].e_tag == second != first


def test_what_is_missing_is_a_missing_file(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.download("x/missing", tmp_path / "there", 0)
    assert list(tmp_path.glob("**/*there*")) == []


def test_a_store_that_does_not_answer_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(1).items():
        monkeypatch.setenv(name, value)
    store = ObjectStore("s3://bucket/prefix")
    with pytest.raises(OSError, match=r"^s3://bucket/prefix: .*") as raised:
        store.put(b"", "file")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (
            "ftp://host/x",
            "root ftp://host/x: must begin with one of s3://, s3a://, gs://, az://, abfs://, abfss:// and a bucket, "
            "but does not. Write for example s3://bucket/prefix, gs://bucket/prefix or az://container/prefix.",
        ),
        (
            "s3://bucket?endpoint=x",
            "root s3://bucket?endpoint=x: what follows the '?' must be of endpoint_override, scheme, region, but got "
            "'endpoint'. Leave it out.",
        ),
        (
            "az://container/x",
            "root az://container/x: address and credentials must be complete, but got: Generic MicrosoftAzure error: "
            "Account must be specified. Write for example s3://bucket/prefix, gs://bucket/prefix or "
            "az://container/prefix; set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY.",
        ),
    ],
)
def test_an_address_of_no_store_is_refused(uri: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(SweepError) as raised:
        ObjectStore(uri)
    assert raised.value.message == message


def test_every_scheme_has_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    addresses = ("s3://b/x", "gs://b/x", "az://c/x", "abfs://c/x", "abfss://c@account.dfs.core.windows.net/x")
    assert [ObjectStore(uri).uri for uri in addresses] == list(addresses)


def test_an_endpoint_may_stand_in_the_address(
    s3_port: int, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    there = ObjectStore(f"{store.uri}?endpoint_override=127.0.0.1:{s3_port}&scheme=http&region=eu-west-1")
    there.put(b"", "x")
    assert list(there.files()) == ["x"]


def test_credentials_may_come_from_a_profile(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "credentials").write_text("[team]\naws_access_key_id = tester\naws_secret_access_key = hidden\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "team")
    ObjectStore(store.uri).put(b"", "x")
    assert list(ObjectStore(store.uri).files()) == ["x"]
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(SweepError) as raised:
        ObjectStore(store.uri)
    assert raised.value.message == (
        "AWS_PROFILE: must name a profile, but got: The config profile (nobody) could not be found. Correct or "
        "unset it."
    )


def refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int, bucket: str) -> str:
    """What a driver is told before it begins."""
    for name, value in (environment(port) | {"SWEEPS_CACHE": str(tmp_path / "cache")}).items():
        monkeypatch.setenv(name, value)
    paths = SweepPaths(cached_root(f"s3://{bucket}/x"), "fcn")
    with pytest.raises(SweepError) as raised, sending(paths, print, mlflow=False):
        pytest.fail("nothing begins")
    assert raised.value.exit_code == 1
    return raised.value.message


def test_a_bucket_that_is_missing_is_said_before_anything_begins(
    tmp_path: Path, s3_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refusal(tmp_path, monkeypatch, s3_port, "missing") == (
        "root s3://missing/x: there must be such a bucket, but got: 404 Not Found (NoSuchBucket: The specified bucket "
        "does not exist). Create it, or correct --root."
    )


def test_access_that_is_denied_is_said_before_anything_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server(denies=True) as port:
        assert refusal(tmp_path, monkeypatch, port, BUCKET) == (
            "root s3://bucket/x: reading, listing, writing and deleting must be allowed, but got: 403 Forbidden "
            "(InvalidAccessKeyId: The AWS Access Key Id you provided does not exist in our records). Check the rights "
            "of this account and its credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE)."
        )


def test_a_store_that_ignores_the_conditions_of_writes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_server(ignores_conditions=True) as port:
        assert refusal(tmp_path, monkeypatch, port, BUCKET) == (
            "root s3://bucket/x: the store must honour conditional writes (If-None-Match), but created one object "
            "twice. Use a store, or a version of it, that does."
        )
        assert ObjectStore(f"s3://{BUCKET}/x").files() == {}


def test_the_doctor_says_whether_a_store_takes_what_is_written(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWEEPS_CACHE", str(tmp_path / "cache"))
    assert list(object_store(tmp_path)) == []  # a folder needs no store
    root = cached_root(store.uri)
    (found,) = object_store(root)
    assert found == Finding("store", "ok", f"{store.uri} can be written")
    assert store.files() == {}
    (found,) = object_store(cached_root("s3://no-such-bucket/sweeps"))
    assert (found.check, found.state) == ("store", "fault")
    assert found.found.startswith("root s3://no-such-bucket/sweeps: there must be such a bucket, but got: 404 ")
    assert found.remedy == "Create it, or correct --root."
