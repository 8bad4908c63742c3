"""Who holds a sweep in its store, where real processes claim it against a real server."""

import json
import multiprocessing
from collections.abc import Callable
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from sweeps.errors import SweepError
from sweeps.remote.claim import Claim
from sweeps.remote.client import ObjectStore
from sweeps.remote.local_copy import LocalCopy, sweep_part
from sweeps.store import lease
from sweeps.store.paths import SweepPaths

RACES = 60
SECONDS = 60


def race(uri: str, cache: Path, start: Barrier, results: "Queue[tuple[int, bool, bool]]") -> None:
    """Claims one sweep after the other as soon as the other process is as far; tells whether it holds it, and hears."""
    for number in range(RACES):
        paths = SweepPaths(cache, f"sweep-{number}")
        copy = LocalCopy(cache, sweep_part(paths.name), ObjectStore(uri))
        with lease.hold(paths.sessions, what="sweep") as held:
            claim = Claim(copy)
            start.wait(SECONDS)
            won = claim.holds()
            start.wait(SECONDS)
            still = claim.holds()
            claim.close()
            assert won == still
            results.put((number, won, hears_of_a_follower(held)))


def hears_of_a_follower(held: lease.Lease) -> bool:
    try:
        held.check()
    except SweepError:
        return True
    return False


def test_of_two_processes_that_claim_a_sweep_at_the_same_instant_one_holds_it(store_uri: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(2), context.Queue()
    racers = [context.Process(target=race, args=(store_uri, tmp_path / name, start, results)) for name in "ab"]
    for racer in racers:
        racer.start()
    told = [results.get(timeout=SECONDS) for _ in range(2 * RACES)]
    for racer in racers:
        racer.join(SECONDS)
        assert racer.exitcode == 0
    for number in range(RACES):
        winner, loser = sorted((entry for entry in told if entry[0] == number), key=lambda entry: not entry[1])
        assert (winner[1:], loser[1:]) == ((True, False), (False, True))


@pytest.fixture
def driver(store_uri: str, tmp_path: Path) -> Callable[[str], tuple[SweepPaths, LocalCopy]]:
    """A machine of this name, with what it has of the sweep `fcn`."""

    def at(machine: str) -> tuple[SweepPaths, LocalCopy]:
        paths = SweepPaths(tmp_path / machine, "fcn")
        return paths, LocalCopy(paths.root, sweep_part("fcn"), ObjectStore(store_uri))

    return at


def test_a_number_is_not_claimed_past_one_that_another_machine_holds(
    store_uri: str, driver: Callable[[str], tuple[SweepPaths, LocalCopy]]
) -> None:
    """The first session of this machine never reached the store, where another machine had the same number."""
    paths, copy = driver("here")
    with lease.hold(paths.sessions, what="sweep fcn") as first:
        first.renew(state="finished")
    ObjectStore(store_uri).compare_and_swap(b'{"host": "elsewhere", "pid": 1}', "fcn/sessions/000001.json", None)
    with lease.hold(paths.sessions, what="sweep fcn") as second:
        claim = Claim(copy)
        assert not claim.holds()
        assert claim.lost
        claim.close()
        with pytest.raises(SweepError, match="on elsewhere"):
            second.check()
    assert list(ObjectStore(store_uri).files()) == ["fcn/sessions/000001.json"]


def test_sessions_that_never_arrived_are_claimed_before_the_one_at_work(
    store_uri: str, driver: Callable[[str], tuple[SweepPaths, LocalCopy]]
) -> None:
    paths, copy = driver("here")
    for state in ("finished", "running"):
        with lease.hold(paths.sessions, what="sweep fcn") as held:
            held.renew(state=state)
            if state == "running":
                claim = Claim(copy)
                assert claim.holds()
                claim.close()
    store = ObjectStore(store_uri)
    states = [json.loads(store.read(f"fcn/sessions/00000{number}.json"))["state"] for number in (1, 2)]
    assert states == ["finished", "running"]


def test_a_claim_whose_answer_never_came_is_held(
    store_uri: str, driver: Callable[[str], tuple[SweepPaths, LocalCopy]], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, copy = driver("here")
    swap = ObjectStore.compare_and_swap

    def lose_the_answer(self: ObjectStore, content: Path | bytes, name: str, expected: str | None) -> str:
        swap(self, content, name, expected)
        raise OSError("connection reset")

    with lease.hold(paths.sessions, what="sweep fcn"):
        claim = Claim(copy)
        monkeypatch.setattr(ObjectStore, "compare_and_swap", lose_the_answer)
        with pytest.raises(OSError, match="connection reset"):
            claim.holds()
        monkeypatch.undo()
        assert claim.holds()
        claim.close()
