"""What surrounds Ray Tune in a session, with stand-ins for Tune."""

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import pytest
from ray import tune
from ray.tune.execution.experiment_state import _ExperimentCheckpointManager  # pyright: ignore[reportPrivateUsage]

from search_spaces.space import SearchSpace
from sweeps import run
from sweeps.driver import ray_executor
from sweeps.driver.options import Options
from sweeps.store.lease import read_session
from sweeps.store.paths import SweepPaths
from sweeps.tracking.identity import read_id
from tests.sweeps.books import Driver


def test_an_interrupt_is_not_hidden_by_a_folder_of_tune_that_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tune copies into it from a thread, so that it may not be empty when it is to be removed."""

    class Interrupted:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def fit(self) -> None:
            def fill(*_: Any, **__: Any) -> None:
                raise OSError(errno.ENOTEMPTY, "Directory not empty")

            monkeypatch.setattr(os, "rmdir", fill)
            raise KeyboardInterrupt

    for name in ("with_parameters", "with_resources", "TuneConfig", "RunConfig"):
        monkeypatch.setattr(tune, name, lambda *_, **__: None)
    monkeypatch.setattr(tune, "Tuner", Interrupted)
    plan, searcher = SimpleNamespace(cpus=1, gpus=0), SimpleNamespace()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        ray_executor._fit(searcher, plan, {})  # pyright: ignore[reportArgumentType, reportPrivateUsage]


def test_tune_writes_its_state_when_it_begins_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    syncer = SimpleNamespace(sync_up=lambda *_: True)
    storage: Any = SimpleNamespace(experiment_driver_staging_path="", experiment_fs_path="", syncer=syncer)
    saved = list[int]()
    manager = _ExperimentCheckpointManager(storage=storage, checkpoint_period="inf")
    for step in range(3):
        manager.sync_up_experiment_state(lambda: saved.append(step))  # noqa: B023 - called at once
    assert saved == [0]


def test_a_session_keeps_no_address_with_a_password(
    tmp_path: Path, small_space: Callable[..., SearchSpace], monkeypatch: pytest.MonkeyPatch
) -> None:
    space, uri = small_space(), "http://me:secret@host"
    paths, options = SweepPaths(tmp_path, space.name), Options(root=tmp_path, tracking_uri=uri)
    paths.folder.mkdir()
    monkeypatch.setattr(run, "_session", lambda *_: None)
    work: Any = SimpleNamespace(paths=paths, space=space, options=options)
    run._begin(work)  # pyright: ignore[reportPrivateUsage]
    assert read_session(paths)["options"] == {}
    assert "secret" not in paths.session.read_text()


def test_a_new_sweep_has_its_space_and_its_id_before_anybody_sees_it(
    tmp_path: Path, small_space: Callable[..., SearchSpace]
) -> None:
    space = small_space()
    paths = SweepPaths(tmp_path, space.name)
    run._found(paths, space, None, None)  # pyright: ignore[reportPrivateUsage]
    assert sorted(path.name for path in paths.folder.iterdir()) == ["space.yaml", "sweep.id"]
    assert read_id(paths) is not None


class Ending:
    """Stands for the mirror: notes what the lease says while the session waits for it."""

    def __init__(self, driver: Driver) -> None:
        self.driver, self.said = driver, list[str]()

    def finish(self, *_: Any) -> None:
        self.said.append(read_session(self.driver.paths)["state"])

    def close(self, _: float) -> int:
        self.said.append(read_session(self.driver.paths)["state"])
        return 7


def conclude(driver: Driver, mirror: Ending) -> int:
    driver.close("finished")
    work: Any = SimpleNamespace(paths=driver.paths, space=driver.space)
    return run._conclude(work, driver.lease, cast(Any, mirror), "finished")  # pyright: ignore[reportPrivateUsage]


def test_nobody_is_let_in_before_the_last_rows_are_in_mlflow(driver: Driver) -> None:
    mirror = Ending(driver)
    assert conclude(driver, mirror) == 7
    assert mirror.said == ["running", "running"]
    found = read_session(driver.paths)
    assert found["state"] == "finished"


def test_who_does_not_wait_for_mlflow_has_finished_all_the_same(driver: Driver) -> None:
    mirror = Ending(driver)
    mirror.close = mock.Mock(side_effect=KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        conclude(driver, mirror)
    found = read_session(driver.paths)
    assert found["state"] == "finished"
