from pathlib import Path

import pytest

from sweeps.errors import SweepError
from sweeps.search.study_place import keep_url, place_of, resolve_storage
from sweeps.store.paths import SweepPaths, sweep_names


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://host/sweeps",
        "postgres://user@host:5433/sweeps",
        "postgresql://user@/sweeps?host=/run/postgresql&sslmode=require",
    ],
)
def test_the_address_of_a_database_is_taken_as_it_is(url: str) -> None:
    assert resolve_storage(url) == url


def test_the_option_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SWEEPS_STORAGE", raising=False)
    assert resolve_storage(None) is None
    monkeypatch.setenv("SWEEPS_STORAGE", "postgresql://a/b")
    assert resolve_storage(None) == "postgresql://a/b"
    assert resolve_storage("postgresql://c/d") == "postgresql://c/d"
    monkeypatch.setenv("SWEEPS_STORAGE", "")
    assert resolve_storage(None) is None


@pytest.mark.parametrize(
    "url",
    ["sweeps", "mysql://me:secret@host/db", "postgresql://host", "postgresql://me:secret@host/", "postgresql://[me:secret@host/db"],
)  # fmt: skip
def test_what_is_no_postgresql_address_is_refused_without_a_secret_in_the_message(url: str) -> None:
    with pytest.raises(SweepError) as raised:
        resolve_storage(url)
    assert raised.value.message == (
        "--storage: must be the address of a PostgreSQL database, but is not one. "
        "Write for example postgresql://user@host/sweeps, or leave it out to use a journal file."
    )


@pytest.mark.parametrize("url", ["postgresql://me:secret@host/db", "postgresql://host/db?user=me&password=secret"])
def test_a_password_is_refused(url: str) -> None:
    with pytest.raises(SweepError) as raised:
        resolve_storage(url)
    assert raised.value.message == (
        "--storage: must not hold a password, which would be kept with the sweep, but does. "
        "Write postgresql://user@host/sweeps, and give the password by PGPASSWORD or in ~/.pgpass."
    )


def test_a_sweep_whose_study_is_in_a_database_says_so_in_a_file(tmp_path: Path) -> None:
    paths = SweepPaths(tmp_path, "fcn")
    assert place_of(paths) == paths.journal
    paths.folder.mkdir()
    keep_url(paths, "postgresql://host/sweeps")
    assert paths.study_url.read_text() == "postgresql://host/sweeps\n"
    assert place_of(paths) == "postgresql://host/sweeps"
    assert sweep_names(tmp_path) == ["fcn"]
