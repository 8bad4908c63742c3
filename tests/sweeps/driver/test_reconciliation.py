"""A new session over stores that earlier ones left in every kind of disagreement."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from search_spaces.space import SearchSpace
from sweeps import results
from sweeps.driver.reconciliation import Found, reconcile
from sweeps.errors import SweepError
from sweeps.results import ResultsWriter, epochs_table, trials_table
from sweeps.search.study import SweepStudy
from sweeps.store.paths import SweepPaths
from sweeps.stored import StoredSweep
from sweeps.tracking import mlflow_store
from sweeps.tracking.mirror import Mirror
from sweeps.tracking.overview import overview
from sweeps.tracking.replay import sync
from sweeps.verify import verify
from sweeps.worker.checkpoints import Checkpoint, Reached, fingerprint, write

Row = dict[str, Any]


@pytest.fixture
def space(small_space: Callable[..., SearchSpace]) -> SearchSpace:
    return small_space(trials=6)


@pytest.fixture
def paths(tmp_path: Path, space: SearchSpace) -> SweepPaths:
    found = SweepPaths(tmp_path, space.name)
    found.folder.mkdir()
    found.space.write_text(space.to_yaml())
    return found


@pytest.fixture
def rows(paths: SweepPaths, space: SearchSpace, ended_row: Any, epoch_rows: Any) -> list[Row]:
    """Four trials that ended, one file of trials each, and their epochs; two more are asked and started."""
    study, writer = SweepStudy(space, paths.journal), ResultsWriter(paths.folder)
    layers = [{"name": "linear1", "remaining": 0.5, "inverted": 0.25}]
    ended = [
        ended_row(number, state) | study.ask().config.to_dict() | {"layers": layers}
        for number, state in enumerate(("finished", "failed", "stopped", "finished"))
    ]
    for row in ended:
        writer.add_epochs(epochs_table(epoch | {"layers": layers} for epoch in epoch_rows(row)))
        writer.add_trials(trials_table([row]))
        writer.flush()
    study.tell(ended)
    started = [study.ask().number, study.ask().number]
    study.start(dict.fromkeys(started, 1))
    return results.load(paths.root, space.name).to_pylist()


def session(paths: SweepPaths, space: SearchSpace) -> Found:
    """What the next session finds."""
    return reconcile(paths, SweepStudy(space, paths.journal), ResultsWriter(paths.folder))


def test_where_all_agree_nothing_is_changed(paths: SweepPaths, space: SearchSpace, rows: list[Row]) -> None:
    before = {path: path.read_bytes() for path in paths.folder.rglob("*.parquet")}
    assert session(paths, space) == Found(rows, {})
    assert {path: path.read_bytes() for path in paths.folder.rglob("*.parquet")} == before


def test_a_torn_file_is_set_aside_and_its_trials_are_written_again_from_the_study(
    paths: SweepPaths, space: SearchSpace, rows: list[Row], caplog: pytest.LogCaptureFixture
) -> None:
    whole = overview(StoredSweep(paths, space))
    sync(mlflow_store.default_uri(paths.root), space.name, root=paths.root, overview=whole)
    torn = paths.trials / "part-000004.parquet"
    torn.write_bytes(torn.read_bytes()[:-9])
    found = session(paths, space)
    assert sorted(path.name for path in paths.trials.iterdir()) == [
        *(f"part-00000{number}.parquet" for number in (1, 2, 3)), "part-000004.parquet.torn", "part-000005.parquet",
    ]  # fmt: skip
    assert "It is set aside as part-000004.parquet.torn." in caplog.text
    assert caplog.messages[-1] == "trial 3: its row in Parquet was lost and is written again from the study"
    again = results.load(paths.root, space.name).to_pylist()
    assert [row["trial"] for row in again] == [0, 1, 2, 3]
    assert again[:3] == rows[:3]
    unknown = ("pack", "lane", "seconds", "host", "device", "dtype", "commit")
    assert {name: again[3][name] for name in unknown} == dict.fromkeys(unknown)
    assert again[3]["started"] <= again[3]["ended"]
    same = rows[3].keys() - set(unknown) - {"started", "ended"}
    assert {name: again[3][name] for name in same} == {name: rows[3][name] for name in same}
    assert found.rows[3]["trial"] == 3
    assert verify(StoredSweep(paths, space), None)["differences"] == []
    assert session(paths, space).rows == again


def test_a_study_that_fails_meanwhile_is_one_message_with_the_way_on(
    paths: SweepPaths, space: SearchSpace, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in paths.folder.rglob("*.parquet")}
    monkeypatch.setattr(SweepStudy, "restore", mock.Mock(side_effect=OSError("the server closed the connection")))
    with pytest.raises(SweepError) as raised:
        session(paths, space)
    assert raised.value.exit_code == 1
    assert raised.value.message == (
        f"{paths.journal}: the study must be readable and writable, but got: the server closed the connection. Nothing "
        f"is lost; mend that and go on with: sweeps resume {space.name} --root {paths.root}"
    )
    assert {path: path.read_bytes() for path in paths.folder.rglob("*.parquet")} == before


def test_a_trial_that_the_study_was_not_told_of_is_told(
    paths: SweepPaths, space: SearchSpace, rows: list[Row], ended_row: Any, epoch_rows: Any
) -> None:
    config = {trial.number: trial.config for trial in SweepStudy(space, paths.journal).trials()}[4]
    writer = ResultsWriter(paths.folder)
    writer.add_trials(trials_table([ended_row(4) | config]))
    writer.flush()
    assert [row["trial"] for row in session(paths, space).rows] == [0, 1, 2, 3, 4]
    states = [trial.state for trial in SweepStudy(space, paths.journal).trials()]
    assert states == ["finished", "failed", "stopped", "finished", "finished", "waiting"]


def keep(paths: SweepPaths, space: SearchSpace, trial: int, epoch: int, ended_row: Any) -> Reached:
    (open_trial,) = [found for found in SweepStudy(space, paths.journal).open_trials() if found.number == trial]
    config = fingerprint(open_trial.config.to_dict())
    began = ended_row(0)["started"]
    reached = Reached(trial=trial, attempt=1, epoch=epoch, seconds=2.0, started=began, config=config)
    write(paths.checkpoints, Checkpoint(reached, [], {}))
    return reached


@pytest.fixture
def reached(paths: SweepPaths, space: SearchSpace, rows: list[Row], ended_row: Any, epoch_rows: Any) -> Reached:
    """The state of trial 4 that can be gone on from; that of trial 5 is of an epoch that was not written."""
    writer = ResultsWriter(paths.folder)
    writer.add_epochs(epochs_table(epoch for trial in (4, 5) for epoch in epoch_rows(ended_row(trial, epochs_done=3))))
    writer.flush()
    keep(paths, space, 5, 4, ended_row)
    return keep(paths, space, 4, 2, ended_row)


def test_states_are_found_whose_epochs_are_in_parquet(paths: SweepPaths, space: SearchSpace, reached: Reached) -> None:
    found = session(paths, space)
    assert found.reached == {4: reached}


def test_a_session_with_another_store_fills_it(
    paths: SweepPaths, space: SearchSpace, rows: list[Row], empty_store: Path
) -> None:
    uri = f"sqlite:///{paths.root}/other.db"
    shutil.copy(empty_store, paths.root / "other.db")
    sync(mlflow_store.default_uri(paths.root), space.name, root=paths.root)
    made = Mirror(uri, space.name, root=paths.root, interval_seconds=0.01)
    made.start_sweep({}, {}, space=space)
    made.finish("finished", overview(StoredSweep(paths, space)))
    assert made.close(60) == 0
    assert verify(StoredSweep(paths, space), uri)["differences"] == []


@pytest.mark.parametrize("folder", ["trials", "epochs"])
def test_however_a_file_is_damaged_it_is_set_aside_once(
    paths: SweepPaths, space: SearchSpace, rows: list[Row], folder: str
) -> None:
    path = paths.folder / folder / "part-000002.parquet"
    whole = path.read_bytes()
    for place in range(0, len(whole), len(whole) // 12):
        copy = SweepPaths(paths.root / f"copy-{place}", paths.name)
        shutil.copytree(paths.folder, copy.folder)
        (copy.folder / folder / path.name).write_bytes(whole[:place])
        session(copy, space)
        assert (copy.folder / folder / f"{path.name}.torn").exists()
        assert results.load(copy.root, space.name).column("trial").to_pylist() == [0, 1, 2, 3]
