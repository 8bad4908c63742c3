"""Optuna's tables in a PostgreSQL database, for studies that many may look at while a sweep runs."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import optuna
from optuna.storages import RDBStorage, get_storage

from sweeps.errors import SweepError

_CONNECTION = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_count": 3, "tcp_user_timeout": 30_000}
"""libpq's names; seconds, and milliseconds for the last: a server that vanished without a word is given up."""


class Database:
    """Optuna's storage in a database that may be away for a while. Makes Optuna's tables where they are missing.

    Args:
        url: `postgresql://user@host/database`; libpq finds the password in PGPASSWORD or ~/.pgpass.

    Raises:
        SweepError: If the package that speaks to PostgreSQL is missing, or the database is another program's.
        OSError: If the database does not answer, or refuses.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        arguments = {"pool_pre_ping": True, "connect_args": _CONNECTION}
        try:
            with self.together():
                storage = RDBStorage(_with_driver(url), arguments, skip_compatibility_check=True)
        except ImportError as error:
            raise SweepError(
                f"{url}: needs the package psycopg, but {error}. "
                "Install it: python -m pip install 'signed-supermask-sweeps[postgres]'."
            ) from None
        weakref.finalize(self, storage.engine.dispose)  # closes the connections that it keeps
        with self.together():
            found, wanted = storage.get_current_version(), storage.get_head_version()
        if found != wanted:
            raise SweepError(
                f"{url}: must be a database for studies alone, with Optuna's tables of version {wanted}, but has "
                f"tables of version {found}. They may be MLflow's: give each its own, e.g. with createdb sweeps."
            )
        self.storage = get_storage(storage)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is asked and told within goes to the database at once, each in a transaction of its own.

        Raises:
            OSError: If the database does not answer, or refuses. What was not told must be told again.
        """
        try:
            yield
        except Exception as error:
            if not _is_of_database(error):
                raise
            raise ConnectionError(f"{self._url} does not answer: {_explain(error)}") from None


def check_free(url: str, name: str) -> None:
    """Makes sure that a new study can have its name.

    Raises:
        SweepError: If the database holds one of that name, or does not answer.
    """
    try:
        database = Database(url)
        with database.together():
            names = {study.study_name for study in database.storage.get_all_studies()}
    except OSError as error:
        raise SweepError(
            f"--storage: must be a database that answers, but {error}. Check the server and who may use it.",
            exit_code=1,
        ) from None
    if name in names:
        raise SweepError(
            f"--storage: the name of a new sweep must be free in {url}, but a study {name} is there. "
            "Choose another name: --name OTHER."
        )


def _with_driver(url: str) -> str:
    return "postgresql+psycopg" + url.removeprefix(urlsplit(url).scheme)


def _is_of_database(error: Exception) -> bool:
    from sqlalchemy.exc import SQLAlchemyError

    return isinstance(error, SQLAlchemyError | optuna.exceptions.StorageInternalError)


def _explain(error: BaseException) -> str:
    """What the database said, in one line: Optuna and SQLAlchemy wrap it and add statements with their values."""
    while inner := getattr(error, "orig", None) or error.__cause__:
        error = inner
    return str(error).strip().split("\n")[0] or type(error).__name__
