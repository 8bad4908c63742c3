"""What a command does about a store when another process of this machine has the copy."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.errors import SweepError
from sweeps.remote import local_copy
from sweeps.remote.client import ObjectStore
from sweeps.remote.local_copy import LocalCopy, sweep_part
from sweeps.remote.root import sending
from sweeps.store import lease
from sweeps.store.cache import cached_root
from sweeps.store.paths import SweepPaths


@pytest.fixture
def paths(tmp_path: Path, store_uri: str, monkeypatch: pytest.MonkeyPatch) -> SweepPaths:
    monkeypatch.setenv("SWEEPS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(local_copy, "READERS_SECONDS", 0.1)
    return SweepPaths(cached_root(store_uri), "fcn")


@pytest.fixture
def other(store_uri: str, paths: SweepPaths) -> Iterator[LocalCopy]:
    """The copy in the hands of a driver that has not sent everything."""
    copy = LocalCopy(paths.root, sweep_part("fcn"), ObjectStore(store_uri))
    with copy.claimed() as mine:
        assert mine
        copy.dirty = True
        copy.save()
        yield copy


def begin(paths: SweepPaths) -> SweepError:
    with pytest.raises(SweepError) as raised, sending(paths, print, mlflow=False):
        pytest.fail("of what is done here nothing would be sent")
    assert raised.value.exit_code == 2
    return raised.value


def test_nobody_works_beside_a_driver_of_this_machine(paths: SweepPaths, other: LocalCopy) -> None:
    with lease.hold(paths.sessions, what="sweep fcn"):
        assert begin(paths).message.startswith("sweep fcn: only one process may work on it, but process ")


def test_nobody_works_while_a_driver_of_this_machine_that_has_ended_sends_the_rest(
    store_uri: str, paths: SweepPaths, other: LocalCopy
) -> None:
    with lease.hold(paths.sessions, what="sweep fcn") as held:
        held.renew(state="finished")
    assert begin(paths).message == (
        "sweep fcn: only one process may work on it, but one of this machine still sends what it did to "
        f"{store_uri}. Wait for it."
    )


def test_what_is_done_within_is_in_the_store_and_who_comes_next_goes_on(store_uri: str, paths: SweepPaths) -> None:
    said = list[str]()
    for number in (1, 2):
        with sending(paths, said.append, mlflow=False), lease.hold(paths.sessions, what="sweep fcn") as held:
            (paths.folder / f"{number}.txt").write_text("done")
            held.renew(state="finished")
    names = ["1.txt", "2.txt", "sessions/000001.json", "sessions/000002.json"]
    assert sorted(ObjectStore(store_uri).files()) == [f"fcn/{name}" for name in names]
    assert said == [f"store:    everything is in {store_uri}"] * 2
