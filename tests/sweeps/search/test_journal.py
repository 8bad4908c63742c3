import errno
import json
import os
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from sweeps.errors import SweepError
from sweeps.search.journal import Journal


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def journal(path: Path) -> Journal:
    return Journal(path)


@pytest.fixture
def fsyncs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    seen: list[int] = []
    monkeypatch.setattr(os, "fsync", seen.append)
    return seen


def study_of(journal: Journal) -> optuna.Study:
    return optuna.create_study(study_name="x", storage=JournalStorage(journal), load_if_exists=True)


def test_entries_made_together_are_one_write_and_read_before_it(
    journal: Journal, path: Path, fsyncs: list[int]
) -> None:
    study = study_of(journal)
    fsyncs.clear()
    before = path.read_bytes()
    with journal.together():
        for number in range(5):
            trial = study.ask()
            study.tell(trial, trial.suggest_float("x", 0, 1))
            assert len(study.trials) == number + 1  # Optuna sees what is not on disk yet
        assert path.read_bytes() == before
    assert len(fsyncs) == 1
    study.tell(study.ask(), 0.5)
    other = optuna.load_study(study_name="x", storage=JournalStorage(JournalFileBackend(str(path))))
    assert [trial.values for trial in other.trials] == [trial.values for trial in study.trials]
    assert len(other.trials) == 6


def test_what_was_made_before_an_error_is_written(journal: Journal, path: Path) -> None:
    def breaking() -> None:
        with journal.together():
            journal.append_logs([{"a": 1}])
            raise KeyError

    with pytest.raises(KeyError):
        breaking()
    assert entries(path) == [{"a": 1}]


def test_who_may_write_no_more_adds_nothing(path: Path) -> None:
    lost = list[int]()

    def check() -> None:
        if lost:
            raise SweepError("another driver has taken over", exit_code=1)

    journal = Journal(path, check=check)
    study = study_of(journal)
    before = path.read_bytes()

    def ask_too_late() -> None:
        with journal.together():
            study.ask()
            lost.append(1)

    with pytest.raises(SweepError, match="another driver has taken over"):
        ask_too_late()
    assert path.read_bytes() == before


def test_together_within_together_ends_with_the_outer_one(journal: Journal, path: Path) -> None:
    with journal.together():
        with journal.together():
            journal.append_logs([{"a": 1}])
        assert entries(path) == []
    assert entries(path) == [{"a": 1}]


def test_a_full_disk_keeps_the_entries_and_leaves_no_half_line(
    journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of(journal)
    study.tell(study.ask(), 1.0)
    whole, append = path.read_bytes(), JournalFileBackend.append_logs

    def full(_: JournalFileBackend, logs: list[dict[str, Any]]) -> None:
        with path.open("ab") as file:
            file.write(json.dumps(logs[0]).encode()[:9])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(JournalFileBackend, "append_logs", full)
    with pytest.raises(OSError, match="No space left"), journal.together():
        study.tell(study.ask(), 2.0)
    assert path.read_bytes() == whole
    monkeypatch.setattr(JournalFileBackend, "append_logs", append)
    assert [trial.value for trial in study.trials] == [1.0, 2.0]
    with journal.together():
        pass
    other = optuna.load_study(study_name="x", storage=JournalStorage(JournalFileBackend(str(path))))
    assert [trial.value for trial in other.trials] == [1.0, 2.0]
    study.tell(study.ask(), 3.0)
    assert [trial.value for trial in other.trials] == [1.0, 2.0, 3.0]


def test_a_disk_that_is_gone_right_after_a_write_has_it_once(
    journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of(journal)

    def gone(*_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    def tell_and_lose() -> None:
        with monkeypatch.context() as patch, journal.together():
            study.tell(study.ask(), 1.0)
            patch.setattr(JournalFileBackend, "read_logs", gone)

    with pytest.raises(OSError, match="Input/output error"):
        tell_and_lose()
    study.tell(study.ask(), 2.0)
    other = optuna.load_study(study_name="x", storage=JournalStorage(JournalFileBackend(str(path))))
    assert [trial.value for trial in study.trials] == [trial.value for trial in other.trials] == [1.0, 2.0]


def test_what_others_add_to_the_file_moves_no_trial(journal: Journal, path: Path) -> None:
    study = study_of(journal)
    other = optuna.load_study(study_name="x", storage=JournalStorage(JournalFileBackend(str(path))))
    for number in range(4):
        with journal.together():
            trial = study.ask()
            other.set_user_attr("note", number)  # of optuna-dashboard, before what is made here is written
            value = trial.suggest_float("x", 0, 1)
        other.set_user_attr("another note", number)
        study.tell(trial, value)
    assert [trial.number for trial in study.trials] == [0, 1, 2, 3]
    there = optuna.load_study(study_name="x", storage=JournalStorage(JournalFileBackend(str(path))))
    assert [(trial.number, trial.values) for trial in there.trials] == [
        (trial.number, trial.values) for trial in study.trials
    ]
    assert there.user_attrs == {"note": 3, "another note": 3}
