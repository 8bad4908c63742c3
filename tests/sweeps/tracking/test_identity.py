"""Sweeps of one name from several roots in one store: each sees, counts and ends its own runs only."""

from pathlib import Path

import pytest

from sweeps.errors import SweepError
from sweeps.remote.root import fetch, sending
from sweeps.store import lease
from sweeps.store.cache import cached_root
from sweeps.store.paths import SweepPaths
from sweeps.tracking import mirrored, mlflow_store
from sweeps.tracking.identity import make_id, read_id
from sweeps.tracking.mirrored import MirroredTrial
from sweeps.tracking.replay import sync
from tests.sweeps.mirrored_sweep import (
    Driven,
    assert_equal,
    client,
    epoch_row,
    parents,
    start_row,
    train,
    trial_row,
    write,
)


@pytest.fixture
def both(root: Path) -> tuple[Path, Path]:
    """The roots of two users."""
    found = root / "one", root / "two"
    for own in found:
        (own / "digits").mkdir(parents=True)
    return found


def test_an_id_is_made_once_and_differs_from_all_others(both: tuple[Path, Path]) -> None:
    one, two = (SweepPaths(own, "digits") for own in both)
    assert read_id(one) is None
    found = make_id(one)
    assert len(found) == 32
    assert (make_id(one), read_id(one)) == (found, found)
    assert make_id(two) != found


@pytest.mark.parametrize("content", [b"", b"x' or tags.role = 'trial", b"\xff" * 32])
def test_a_damaged_id_is_told_with_the_way_on(both: tuple[Path, Path], content: bytes) -> None:
    paths = SweepPaths(both[0], "digits")
    paths.sweep_id.write_bytes(content)
    with pytest.raises(SweepError, match=r"sweep\.id: must hold 32 hexadecimal digits, but does not\. Restore it; or "):
        make_id(paths)


def test_two_drivers_that_mirror_sweeps_of_one_name_into_one_store(root: Path, both: tuple[Path, Path]) -> None:
    uri = mlflow_store.default_uri(root)

    def begin(own: Path) -> Driven:
        return Driven(own, uri)

    def read(own: Path) -> list[MirroredTrial]:
        return mirrored.read(uri, "digits", root=own, count_steps=True)

    one, two = both
    first = begin(one)
    first.start_sweep({"trials": 2}, {})
    train(first, range(2))
    assert first.close(60) == 0
    before = read(one)

    second = begin(two)  # with trials of the same numbers, of which one is started again and one has other parameters
    second.start_sweep({"trials": 3}, {})
    second.trials_started([start_row(0), start_row(1, seed=5)])
    second.epochs([epoch_row(0, 1)])
    second.trials_started([start_row(0, attempt=2)])
    second.epochs([epoch_row(0, epoch, attempt=2) for epoch in (2, 3)])
    second.ended([trial_row(0, attempt=2)])
    second.finish("interrupted")
    assert second.close(60) == 0
    assert read(one) == before
    assert [(run.trial, run.attempt, run.state) for run in read(two)] == [(0, 2, "finished"), (1, 1, "running")]
    assert_equal(read(two)[0], trial_row(0, attempt=2))

    third = begin(one)
    third.start_sweep({"trials": 2}, {})
    third.finish("finished")
    assert third.close(60) == 0
    assert read(one) == before
    assert sorted((run.data.params["trials"], run.info.status) for run in parents(root)) == [
        ("2", "FINISHED"),
        ("3", "KILLED"),
    ]
    assert len({frozenset(mlflow_store.addresses(uri, "digits", root=own).values()) for own in both}) == 2


def test_sync_and_confirmations_leave_the_runs_of_others_alone(root: Path, both: tuple[Path, Path]) -> None:
    uri = mlflow_store.default_uri(root)
    one, two = both
    write(one, [trial_row(0)])
    write(two, [trial_row(0, seed=7)])
    assert sync(uri, "digits", root=one) == 1
    (before,) = mirrored.read(uri, "digits", root=one)
    confirmations = {(0, 3): [{"state": "finished", "remaining": 0.02, "test_accuracy": 0.9, "seed_index": 0}]}
    assert mlflow_store.send_confirmations(uri, "digits", root=two, confirmations=confirmations) == (0, ["0@3"])
    assert mirrored.read(uri, "digits", root=two) == []
    assert mirrored.read_parent(uri, "digits", root=two) is None
    assert mlflow_store.addresses(uri, "digits", root=two) == {"MLflow": "http://127.0.0.1:5000"}

    assert sync(uri, "digits", root=two) == 1
    assert mlflow_store.send_confirmations(uri, "digits", root=two, confirmations=confirmations) == (1, [])
    assert sync(uri, "digits", root=one) == 0
    assert mirrored.read(uri, "digits", root=one) == [before]
    (other,) = mirrored.read(uri, "digits", root=two)
    assert other.params["seed"] == "7"
    assert len({run.info.run_id for run in parents(root)}) == 2
    assert client(root).get_run(other.run_id).data.tags["sweep_id"] == read_id(SweepPaths(two, "digits"))


def test_the_id_travels_with_a_sweep_to_an_object_store_and_to_whoever_opens_mlflows_page(
    tmp_path: Path, store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = list[str | None]()
    for machine in ("one", "two"):
        monkeypatch.setenv("SWEEPS_CACHE", str(tmp_path / machine))
        paths = SweepPaths(cached_root(store_uri), "digits")
        fetch(paths, summary=True)  # as `sweeps ui` does
        ids.append(read_id(paths))
        with sending(paths, print, mlflow=False), lease.hold(paths.sessions, what="sweep digits") as held:
            ids.append(make_id(paths))
            held.renew(state="finished")
    assert ids == [None, *ids[1:2] * 3]
