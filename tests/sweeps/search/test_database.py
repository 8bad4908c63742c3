"""Studies in a real PostgreSQL server that goes away and comes back."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from search_spaces.space import Constraint, Sampler, SearchSpace
from sweeps.driver.reconciliation import reconcile
from sweeps.errors import SweepError
from sweeps.results import ResultsWriter, epochs_table, trials_table
from sweeps.search.database import check_free
from sweeps.search.study import SweepStudy
from sweeps.store.paths import SweepPaths
from tests.sweeps.postgres_server import PASSWORD, PostgresServer, postgres_server

Space = Callable[..., SearchSpace]
EndedRow = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as started:
        yield started


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)


def test_a_study_is_the_same_in_a_database_as_in_a_journal(
    server: PostgresServer, tmp_path: Path, small_space: Space, ended_row: EndedRow
) -> None:
    space = small_space(name="same", sampler=Sampler("tpe", 7), constraints=(Constraint("val_accuracy", ">=", 0.75),))
    places = (server.url, tmp_path / "journal")
    for place in places:
        study = SweepStudy(space, place)
        for number in range(12):
            with study.together():
                asked = [study.ask() for _ in range(2)]
            study.start({trial.number: 1 for trial in asked})
            first, second = ({"trial": trial.number, **trial.config.to_dict()} for trial in asked)
            state = ("finished", "stopped", "failed")[number % 3]
            study.tell([ended_row(first["trial"], state, val_accuracy=first["pruning_rate"], train_loss=float("nan"))])
            if number % 2:
                study.tell([ended_row(second["trial"], remaining=second["learning_rate"])])
    database, journal = (SweepStudy(space, place) for place in places)
    told = [[replace(trial, started=None, ended=None) for trial in study.trials()] for study in (database, journal)]
    assert repr(told[0]) == repr(told[1])  # NaN equals NaN in text
    assert database.open_trials() == journal.open_trials() != []
    assert database.asked == journal.asked == 24
    assert database.ask() == journal.ask()


def test_while_the_server_is_away_nothing_is_lost_and_then_all_is_told(
    server: PostgresServer, small_space: Space, ended_row: EndedRow
) -> None:
    space = small_space(name="away")
    study = SweepStudy(space, server.url)
    asked = [study.ask() for _ in range(3)]
    rows = [ended_row(number) for number in range(2)]
    server.stop()
    try:
        for call in (lambda: study.start({0: 1, 1: 1, 2: 1}), lambda: study.tell(rows), study.ask, study.trials):
            with pytest.raises(OSError, match=rf"^{server.url} does not answer: .*Connection refused"):
                call()
    finally:
        server.start()
    study.tell(rows)
    assert study.ask().number == 3
    reopened = SweepStudy(space, server.url)
    assert [trial.state for trial in reopened.trials()] == ["finished", "finished", "waiting", "waiting"]
    assert [(trial.number, trial.attempts) for trial in reopened.open_trials()] == [(2, 1), (3, 0)]
    assert [trial.config for trial in asked] == [
        type(trial.config).from_dict(found.config) for trial, found in zip(asked, reopened.trials(), strict=False)
    ]


@pytest.mark.parametrize("twice", [False, True])
def test_a_trial_that_was_stored_before_the_connection_broke_is_not_lost(
    server: PostgresServer, small_space: Space, monkeypatch: pytest.MonkeyPatch, twice: bool
) -> None:
    study = SweepStudy(small_space(name=f"broken-{twice}"), server.url)
    storage = study._storage  # pyright: ignore[reportPrivateUsage]
    create = storage.create_new_trial

    def create_and_break(*arguments: Any) -> int:
        create(*arguments)
        if twice:  # Optuna tries again by itself
            return create(*arguments)
        raise ConnectionError("gone")

    study.ask()
    with monkeypatch.context() as broken:
        broken.setattr(storage, "create_new_trial", create_and_break)
        if twice:
            assert study.ask().number == 1
        else:
            with pytest.raises(OSError, match="gone"):
                study.ask()
            assert study.asked == 1
    numbers = [study.ask().number for _ in range(3)]
    assert numbers == ([2, 3, 4] if twice else [1, 2, 3])
    assert [trial.number for trial in study.trials()] == list(range(study.asked))


def test_an_end_that_was_stored_before_the_connection_broke_is_told_again_in_vain(
    server: PostgresServer, small_space: Space, ended_row: EndedRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = SweepStudy(small_space(name="ends"), server.url)
    rows = [ended_row(study.ask().number) for _ in range(2)]
    storage = study._storage  # pyright: ignore[reportPrivateUsage]
    tell = storage.set_trial_state_values

    def tell_and_break(*arguments: Any, **named: Any) -> bool:
        tell(*arguments, **named)
        raise ConnectionError("gone")

    with monkeypatch.context() as broken:
        broken.setattr(storage, "set_trial_state_values", tell_and_break)
        with pytest.raises(OSError, match="gone"):
            study.tell(rows)
    study.tell(rows)
    assert [trial.state for trial in study.trials()] == ["finished", "finished"]


def test_a_study_whose_tables_were_all_dropped_is_filled_again_from_parquet(
    server: PostgresServer, tmp_path: Path, small_space: Space, ended_row: EndedRow, epoch_rows: Any
) -> None:
    space = small_space(name="dropped")  # of random trials: one that had not ended is sampled as it was
    paths, study = SweepPaths(tmp_path, space.name), SweepStudy(space, server.url)
    configs = [study.ask().config.to_dict() for _ in range(5)]
    study.start({0: 1, 1: 1, 2: 2, 3: 1, 4: 2})
    states = ("finished", "stopped", "failed", "finished")
    rows = [ended_row(number, state) | configs[number] for number, state in enumerate(states)]
    in_training = ended_row(4, attempt=2, epochs_done=1)
    writer = ResultsWriter(paths.folder)
    writer.add_epochs(epochs_table(epoch for row in (*rows, in_training) for epoch in epoch_rows(row)))
    writer.add_trials(trials_table(rows))
    writer.flush()
    study.tell(rows)
    before, waiting = study.trials(), study.open_trials()
    with psycopg.connect(server.url, password=PASSWORD) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    reconcile(paths, SweepStudy(space, server.url), writer)
    again = SweepStudy(space, server.url)  # as it stands in the database
    assert again.trials() == before
    assert again.open_trials() == waiting
    assert again.ask().number == 5


def test_two_sweeps_of_one_name_do_not_share_a_study(server: PostgresServer, small_space: Space) -> None:
    check_free(server.url, "taken")
    SweepStudy(small_space(name="taken"), server.url)
    with pytest.raises(SweepError) as raised:
        check_free(server.url, "taken")
    assert raised.value.message == (
        f"--storage: the name of a new sweep must be free in {server.url}, but a study taken is there. "
        "Choose another name: --name OTHER."
    )


def test_the_database_of_another_program_is_refused(server: PostgresServer, small_space: Space) -> None:
    with psycopg.connect(server.other, password=PASSWORD) as connection:  # as MLflow leaves it
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
        connection.execute("INSERT INTO alembic_version VALUES ('1b5f0d9ad7c1')")
    with pytest.raises(SweepError) as raised:
        check_free(server.other, "x")
    assert raised.value.message.startswith(
        f"{server.other}: must be a database for studies alone, with Optuna's tables of version v"
    )
    assert raised.value.message.endswith(
        "has tables of version 1b5f0d9ad7c1. They may be MLflow's: give each its own, e.g. with createdb sweeps."
    )


def test_a_server_that_refuses_is_told_in_one_line_without_secrets(
    server: PostgresServer, small_space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "mistaken")
    with pytest.raises(SweepError) as opened:
        SweepStudy(small_space(), server.url)
    with pytest.raises(SweepError) as checked:
        check_free(server.url, "x")
    assert opened.value.message.startswith(f"{server.url}: the study must be readable and writable, but {server.url} ")
    assert opened.value.message.endswith("Check the server and who may use it.")
    assert checked.value.message.startswith(f"--storage: must be a database that answers, but {server.url} does not ")
    assert checked.value.exit_code == 1
    for raised in (opened, checked):
        assert 'password authentication failed for user "keeper"' in raised.value.message
        assert "mistaken" not in raised.value.message
        assert "\n" not in raised.value.message
