"""Copies of a store: two caches stand for two machines."""

import json
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.remote import local_copy
from sweeps.remote.client import ObjectStore
from sweeps.remote.local_copy import MLFLOW, LocalCopy, confirm_part, sweep_part


class CountingStore(ObjectStore):
    """Notes what is brought from it."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.brought: list[str] = []

    def download(self, name: str, path: Path, mtime_ns: int) -> str:
        self.brought.append(name)
        return super().download(name, path, mtime_ns)


@pytest.fixture
def store(store_uri: str) -> CountingStore:
    made = CountingStore(store_uri)
    for name in ("space.yaml", "study.journal", "trials/part-000001.parquet", "epochs/part-000001.parquet"):
        made.put(f"{name} of fcn".encode(), f"fcn/{name}")
    made.put(lease(1, pid=7), "fcn/sessions/000001.json")
    made.put(b"confirmed", "fcn/confirm/part-000001.parquet")
    made.put(b"another sweep", "fcn-2/space.yaml")
    made.put(b"runs", "mlflow.db")
    return made


@pytest.fixture
def copy(tmp_path: Path, store: CountingStore) -> Callable[[], LocalCopy]:
    """The copy of a sweep as the next command finds it."""
    return lambda: LocalCopy(tmp_path / "cache", sweep_part("fcn"), store)


def lease(number: int, *, pid: int, state: str = "running") -> bytes:
    return json.dumps({"host": "a", "pid": pid, "since": f"{number}", "state": state}).encode()


def test_a_copy_is_what_the_store_holds_of_its_part(
    tmp_path: Path, store: CountingStore, copy: Callable[[], LocalCopy]
) -> None:
    copy().fetch()
    assert sorted(copy().here()) == sorted(store.brought) == [
        "fcn/epochs/part-000001.parquet", "fcn/sessions/000001.json", "fcn/space.yaml", "fcn/study.journal",
        "fcn/trials/part-000001.parquet",
    ]  # fmt: skip
    assert (tmp_path / "cache/fcn/study.journal").read_text() == "study.journal of fcn"
    LocalCopy(tmp_path / "cache", confirm_part("fcn"), store).fetch()
    LocalCopy(tmp_path / "cache", MLFLOW, store).fetch()
    assert store.brought[5:] == ["fcn/confirm/part-000001.parquet", "mlflow.db"]


def test_only_what_changed_is_brought_again_but_the_lease_always(
    tmp_path: Path, store: CountingStore, copy: Callable[[], LocalCopy]
) -> None:
    copy().fetch()
    store.brought.clear()
    store.put(b"longer than it was before", "fcn/study.journal")
    store.put(b"new", "fcn/trials/part-000002.parquet")
    store.delete("fcn/trials/part-000001.parquet")
    copy().fetch()
    assert set(store.brought) == {"fcn/study.journal", "fcn/trials/part-000002.parquet", "fcn/sessions/000001.json"}
    assert [path.name for path in (tmp_path / "cache/fcn/trials").iterdir()] == ["part-000002.parquet"]


@pytest.mark.parametrize("ahead", [-3600, 3600])
def test_who_lives_is_seen_by_the_clock_of_the_store_and_not_by_that_of_this_machine(
    tmp_path: Path, store: CountingStore, copy: Callable[[], LocalCopy], monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    stamped = time.time_ns
    monkeypatch.setattr("sweeps.remote.client.time.time_ns", lambda: stamped() - ahead * 10**9)
    store.probe()
    copy().fetch()
    there = store.files()
    here = {name: (tmp_path / "cache" / name).stat().st_mtime_ns for name in copy().here()}
    lease, results = "fcn/sessions/000001.json", "fcn/trials/part-000001.parquet"
    assert (there[lease].mtime_ns - here[lease]) / 1e9 == pytest.approx(ahead, abs=30)
    assert there[results].mtime_ns == here[results]
    store.brought.clear()
    copy().fetch()
    assert store.brought == ["fcn/sessions/000001.json"]


def test_what_a_reader_does_to_its_copy_does_not_last(tmp_path: Path, copy: Callable[[], LocalCopy]) -> None:
    copy().fetch()
    (tmp_path / "cache/fcn/study.journal").write_text("scribbled on")
    (tmp_path / "cache/fcn/space.yaml").unlink()
    (tmp_path / "cache/fcn/report.html").write_text("drawn here")
    copy().fetch()
    assert (tmp_path / "cache/fcn/study.journal").read_text() == "study.journal of fcn"
    assert (tmp_path / "cache/fcn/space.yaml").exists()
    assert (tmp_path / "cache/fcn/report.html").read_text() == "drawn here"


def test_only_what_is_wanted_is_brought(store: CountingStore, copy: Callable[[], LocalCopy]) -> None:
    copy().fetch(lambda name: "/trials/" in name)
    assert store.brought == ["fcn/trials/part-000001.parquet"]
    copy().fetch(lambda name: "/epochs/" in name)
    assert store.brought == ["fcn/trials/part-000001.parquet", "fcn/epochs/part-000001.parquet"]


def test_the_study_is_brought_before_results_so_that_it_is_never_ahead_of_them(
    store: CountingStore, copy: Callable[[], LocalCopy]
) -> None:
    copy().fetch()
    results = [place for place, name in enumerate(store.brought) if "part-" in name]
    assert max(store.brought.index(f"fcn/{name}") for name in ("study.journal", "sessions/000001.json")) < min(results)


def test_files_that_are_merged_meanwhile_are_looked_for_again(
    store: CountingStore, copy: Callable[[], LocalCopy], monkeypatch: pytest.MonkeyPatch
) -> None:
    download = CountingStore.download

    def merge(self: CountingStore, name: str, path: Path, mtime_ns: int) -> str:
        if name.endswith("trials/part-000001.parquet"):
            self.put(b"merged", "fcn/trials/part-000002.parquet")
            self.delete(name)
        return download(self, name, path, mtime_ns)

    monkeypatch.setattr(CountingStore, "download", merge)
    copy().fetch()
    assert [name for name in copy().here() if "/trials/" in name] == ["fcn/trials/part-000002.parquet"]


def test_what_was_not_sent_stays_while_nobody_else_has_gone_on(
    tmp_path: Path, store: CountingStore, copy: Callable[[], LocalCopy]
) -> None:
    driver = copy()
    driver.fetch()
    (tmp_path / "cache/fcn/trials/part-000002.parquet").write_text("not sent")
    (tmp_path / "cache/fcn/sessions/000002.json").write_bytes(lease(2, pid=8))
    driver.dirty = True
    driver.save()
    store.brought.clear()
    copy().fetch()
    assert store.brought == []
    store.put(lease(2, pid=8, state="failed"), "fcn/sessions/000002.json")  # its own, of a moment later
    copy().fetch()
    assert (tmp_path / "cache/fcn/trials/part-000002.parquet").read_text() == "not sent"
    assert copy().dirty


@pytest.mark.parametrize("follower", ["000002", "000003"])
def test_what_was_not_sent_is_set_aside_when_another_machine_has_gone_on(
    tmp_path: Path,
    store: CountingStore,
    copy: Callable[[], LocalCopy],
    caplog: pytest.LogCaptureFixture,
    follower: str,
) -> None:
    driver = copy()
    driver.fetch()
    (tmp_path / "cache/fcn/trials/part-000002.parquet").write_text("not sent")
    (tmp_path / "cache/fcn/sessions/000002.json").write_bytes(lease(2, pid=8))
    driver.dirty = True
    driver.save()
    store.put(lease(int(follower), pid=9), f"fcn/sessions/{follower}.json")
    store.put(b"of the other", "fcn/trials/part-000002.parquet")
    with caplog.at_level(logging.WARNING):
        copy().fetch()
    assert (tmp_path / "cache/fcn/trials/part-000002.parquet").read_text() == "of the other"
    (aside,) = (tmp_path / "cache/.set-aside").rglob("part-000002.parquet")
    assert aside.read_text() == "not sent"
    assert not copy().dirty
    (message,) = caplog.messages
    assert message.startswith("fcn/sweep: another machine has gone on with it, so what this one had not sent is of no ")


def test_while_a_driver_works_here_its_own_files_are_what_is_read(
    tmp_path: Path, store: CountingStore, copy: Callable[[], LocalCopy]
) -> None:
    driver = copy()
    driver.fetch()
    with driver.locked() as held:
        assert held
        driver.dirty = True
        driver.save()
        store.brought.clear()
        (tmp_path / "cache/fcn/study.journal").write_text("newer")
        copy().fetch()
        assert store.brought == []
        assert (tmp_path / "cache/fcn/study.journal").read_text() == "newer"


def test_who_writes_waits_for_a_reader_and_not_for_a_writer(
    copy: Callable[[], LocalCopy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_copy, "READERS_SECONDS", 0.3)
    holds, ends = threading.Event(), threading.Event()

    def hold() -> None:
        with copy().locked():
            holds.set()
            ends.wait(30)

    reader = threading.Thread(target=hold)
    reader.start()
    holds.wait(30)
    threading.Timer(0.6, ends.set).start()
    with copy().claimed() as mine:
        assert mine
        assert ends.is_set()
        writer = copy()
        writer.dirty = True
        writer.save()
        with copy().claimed() as other:
            assert not other
    reader.join()


def test_what_a_driver_left_before_it_had_a_lease_is_no_obstacle(
    tmp_path: Path, store: CountingStore, copy: Callable[[], LocalCopy]
) -> None:
    store.delete("fcn/sessions/000001.json")
    begun = copy()
    begun.dirty = True
    begun.save()
    copy().fetch()
    assert copy().dirty
    assert not (tmp_path / "cache/fcn/study.journal").exists()


def test_a_database_that_is_in_use_here_is_not_brought_and_the_last_who_uses_it_knows(
    tmp_path: Path, store: CountingStore
) -> None:
    def copy() -> LocalCopy:
        return LocalCopy(tmp_path / "cache", MLFLOW, store)

    copy().fetch()
    with copy().used(), copy().used() as other:
        (tmp_path / "cache/mlflow.db").write_bytes(b"runs and more runs")
        copy().fetch()
        assert (tmp_path / "cache/mlflow.db").read_bytes() == b"runs and more runs"
        assert not other()
    with copy().used() as last:
        assert last()
    copy().fetch()
    assert (tmp_path / "cache/mlflow.db").read_bytes() == b"runs"


def test_a_link_is_no_file_of_a_sweep(tmp_path: Path, copy: Callable[[], LocalCopy]) -> None:
    copy().fetch()
    before = copy().here()
    (tmp_path / "cache/fcn/study.journal.lock").symlink_to("study.journal")
    assert copy().here() == before
