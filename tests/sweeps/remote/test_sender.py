"""What is sent when, and what happens when the store or another driver is in the way."""

import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from sweeps.errors import SweepError
from sweeps.remote.client import ObjectStore
from sweeps.remote.local_copy import LocalCopy, sweep_part
from sweeps.remote.sender import Sender
from sweeps.store.lease import Lease


class Store(ObjectStore):
    """Notes what is done to it, and fails when it is told to."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.done: list[str] = []
        self.failing = False
        self.meanwhile: Callable[[str], None] = lambda _: None

    def put(self, content: Path | bytes, name: str) -> str:
        return self._noted(name, partial(super().put, content, name))

    def compare_and_swap(self, content: Path | bytes, name: str, expected: str | None) -> str:
        return self._noted(name, partial(super().compare_and_swap, content, name, expected))

    def _noted(self, name: str, write: Callable[[], str]) -> str:
        if self.failing:
            raise OSError(f"{self.uri}: Connection refused")
        self.meanwhile(name)
        e_tag = write()
        self.done.append(f"put {name.removeprefix('fcn/')}")
        return e_tag

    def delete(self, name: str) -> None:
        self.done.append(f"delete {name.removeprefix('fcn/')}")
        super().delete(name)


@pytest.fixture
def store(store_uri: str) -> Store:
    return Store(store_uri)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sweep in a cache, whose lease this process holds."""
    folder = tmp_path / "cache/fcn"
    for name in ("trials", "epochs", "masks", "sessions"):
        (folder / name).mkdir(parents=True)
    for name in ("space.yaml", "trials/part-000001.parquet", "epochs/part-000001.parquet", "masks/3.safetensors"):
        (folder / name).write_text(name)
    (folder / "study.journal").write_text("one\ntwo\nhal")
    (folder / "sessions/000001.json").write_text(json.dumps(document()))
    return folder


def document(**changes: object) -> dict[str, object]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "since": "now", "state": "running"} | changes


@pytest.fixture
def send(tmp_path: Path, store: Store) -> Iterator[Callable[[], Sender]]:
    """Starts a sender that sends when it is closed, or each hundredth of a second."""
    senders: list[Sender] = []

    def start(interval_seconds: float = 3600) -> Sender:
        copy = LocalCopy(tmp_path / "cache", sweep_part("fcn"), store)
        senders.append(Sender(copy, interval_seconds=interval_seconds))
        return senders[-1]

    yield start
    for sender in senders:
        sender.close(0)


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_results_are_sent_before_the_study_and_the_study_before_the_lease(
    folder: Path, store: Store, send: Callable[..., Sender]
) -> None:
    assert send().close() == []
    assert store.done[0] == "put sessions/000001.json"  # the claim
    assert store.done[1:3] == ["put epochs/part-000001.parquet", "put trials/part-000001.parquet"]
    assert set(store.done[3:5]) == {"put space.yaml", "put masks/3.safetensors"}
    assert store.done[5:] == ["put study.journal", "put sessions/000001.json"]
    assert store.read("fcn/study.journal") == b"one\ntwo\n"  # not the line that is being written


def test_a_study_told_of_later_results_waits_for_the_next_round(
    folder: Path, store: Store, send: Callable[..., Sender]
) -> None:
    def go_on(name: str) -> None:
        if name.endswith("trials/part-000001.parquet"):
            (folder / "trials/part-000002.parquet").write_text("later")
            (folder / "study.journal").write_text("one\ntwo\nhalf\nlater\n")

    store.meanwhile = go_on
    sender = send(0.01)
    wait_for(lambda: "put study.journal" in store.done)
    first = store.done[: store.done.index("put study.journal") + 1]
    assert "put trials/part-000002.parquet" not in first
    sender.close()
    assert store.read("fcn/study.journal") == b"one\ntwo\nhalf\nlater\n"
    assert store.done.index("put trials/part-000002.parquet") < len(store.done) - store.done[::-1].index(
        "put study.journal"
    )


@pytest.mark.parametrize("state", ["running", "finished"])
def test_a_driver_lives_while_a_round_takes_long_and_has_not_ended_before_it_has(
    folder: Path, store: Store, send: Callable[..., Sender], monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr("sweeps.remote.claim.HEARTBEAT_SECONDS", 0.01)
    lease, seen = "fcn/sessions/000001.json", list[str]()
    (folder / "sessions/000001.json").write_text(json.dumps(document(state=state)))

    def wait(name: str) -> None:
        if name.endswith(("trials/part-000001.parquet", "study.journal")):  # in the middle of a round
            before = store.done.count("put sessions/000001.json")
            wait_for(lambda: store.done.count("put sessions/000001.json") >= before + 3)
            seen.append(json.loads(store.read(lease))["state"])

    store.meanwhile = wait
    assert send().close() == []
    assert seen == ["running"] * 2
    assert json.loads(store.read(lease))["state"] == state


def test_merged_files_are_removed_when_what_took_their_place_has_arrived(
    folder: Path, store: Store, send: Callable[..., Sender]
) -> None:
    send().close()
    store.done.clear()
    (folder / "trials/part-000002.parquet").write_text("merged")
    (folder / "trials/part-000001.parquet").unlink()
    (folder / "masks/3.safetensors").unlink()
    send().close()
    merged = store.done.index("put trials/part-000002.parquet")
    assert {"delete trials/part-000001.parquet", "delete masks/3.safetensors"} <= set(store.done[merged:])
    assert sorted(store.files("fcn/trials")) == ["fcn/trials/part-000002.parquet"]


def test_what_has_not_changed_is_not_sent_again(folder: Path, store: Store, send: Callable[..., Sender]) -> None:
    send().close()
    store.done.clear()
    (folder / "log.txt").write_text("a line")
    send().close()
    assert store.done == ["put log.txt", "put sessions/000001.json"]


def test_files_under_temporary_names_and_confirmations_are_not_sent(
    folder: Path, store: Store, send: Callable[..., Sender]
) -> None:
    (folder / "trials/.tmp-part-000002.parquet-7").write_text("half")
    (folder / "sessions/.tmp-abc").mkdir()
    (folder / "sessions/.tmp-abc/lease").write_text("half")
    (folder / "confirm").mkdir()
    (folder / "confirm/part-000001.parquet").write_text("of another process")
    send().close()
    assert [name for name in store.files() if ".tmp-" in name or "confirm" in name] == []


def test_a_store_that_fails_is_tried_again_and_what_is_missing_is_told(
    folder: Path, store: Store, send: Callable[..., Sender], caplog: pytest.LogCaptureFixture
) -> None:
    store.failing = True
    with caplog.at_level(logging.WARNING):
        sender = send(0.01)
        wait_for(lambda: sender.fault is not None)
        store.failing = False
        wait_for(lambda: sender.fault is None)
    (message,) = caplog.messages
    assert message == (
        f"upload to the object store failed: {store.uri}: Connection refused. The sweep continues; the upload will be "
        "retried."
    )
    store.failing = True
    (folder / "trials/part-000002.parquet").write_text("at the end")
    assert sender.close(0) == ["fcn/trials/part-000002.parquet"]
    assert sender.fault == f"{store.uri}: Connection refused"
    store.failing = False
    assert send().close() == []
    assert store.read("fcn/trials/part-000002.parquet") == b"at the end"


def test_without_the_lease_nothing_is_sent(folder: Path, store: Store, send: Callable[..., Sender]) -> None:
    (folder / "sessions/000001.json").write_text(json.dumps(document(pid=1)))
    sender = send()
    assert sender.close() == []
    assert (store.done, sender.sent) == ([], False)


def test_a_driver_whose_lease_another_machine_took_sends_no_more_and_hears_of_it(
    folder: Path, store: Store, send: Callable[..., Sender]
) -> None:
    held = Lease(folder / "sessions/000001.json", document(), "sweep fcn")
    sender = send(0.01)
    wait_for(lambda: sender.sent)
    held.check()
    other = json.dumps(document(host="elsewhere", since="later")).encode()
    store.put(other, "fcn/sessions/000002.json")
    wait_for(lambda: sender.lost)
    (folder / "trials/part-000002.parquet").write_text("too late")
    with pytest.raises(SweepError, match=r"^sweep fcn: only the last to take over may write: .* on elsewhere"):
        held.check()
    assert "fcn/trials/part-000002.parquet" in sender.close()
    assert store.version("fcn/trials/part-000002.parquet") is None
    assert store.read("fcn/sessions/000002.json") == other


def test_results_and_the_study_of_another_driver_are_not_written_over(
    folder: Path, store: Store, send: Callable[..., Sender]
) -> None:
    """The other takes over in the middle of a round: this driver was suspended there."""
    others = ["fcn/study.journal", "fcn/trials/part-000001.parquet"]

    def take_over(name: str) -> None:
        if name.endswith("epochs/part-000001.parquet"):
            store.meanwhile = lambda _: None
            for other in (*others, "fcn/sessions/000002.json"):
                ObjectStore(store.uri).put(json.dumps(document(host="elsewhere")).encode(), other)

    store.meanwhile = take_over
    sender = send()
    left = sender.close(0)
    assert sender.lost
    assert set(others) <= set(left)
    assert [json.loads(store.read(name))["host"] for name in others] == ["elsewhere"] * 2


def test_an_upload_whose_answer_never_came_is_made_again(
    folder: Path, store: Store, send: Callable[..., Sender]
) -> None:
    for name in ("study.journal", "trials/part-000001.parquet"):
        ObjectStore(store.uri).put(b"the beginning", f"fcn/{name}")
    assert send().close() == []
    assert store.read("fcn/study.journal") == b"one\ntwo\n"
    assert store.read("fcn/trials/part-000001.parquet") == b"trials/part-000001.parquet"
