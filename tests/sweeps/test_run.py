"""What surrounds Ray Tune in a session, with stand-ins for Tune."""

import errno
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import tune
from ray.tune.execution.experiment_state import _ExperimentCheckpointManager  # pyright: ignore[reportPrivateUsage]

from sweeps import run


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
        run._fit(searcher, plan, {})  # pyright: ignore[reportPrivateUsage, reportArgumentType]


def test_tune_writes_its_state_when_it_begins_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    syncer = SimpleNamespace(sync_up=lambda *_: True)
    storage: Any = SimpleNamespace(experiment_driver_staging_path="", experiment_fs_path="", syncer=syncer)
    saved = list[int]()
    manager = _ExperimentCheckpointManager(storage=storage, checkpoint_period="inf")
    for step in range(3):
        manager.sync_up_experiment_state(lambda: saved.append(step))  # noqa: B023 - called at once
    assert saved == [0]
