"""Where the study of a sweep is kept: in a journal file beside its results, or in a PostgreSQL database."""

import os
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from sweeps.errors import SweepError
from sweeps.store.paths import SweepPaths, replacing

STORAGE_VARIABLE = "SWEEPS_STORAGE"

Place = Path | str
"""The file of a journal, or the URL of a database."""


def resolve_storage(option: str | None) -> str | None:
    """The database for the studies of new sweeps: `option`, else the environment variable SWEEPS_STORAGE, else none.

    Returns:
        A URL without a password, or None for a journal file.

    Raises:
        SweepError: If it names no PostgreSQL database, or has a password in it.
    """
    url = option or os.environ.get(STORAGE_VARIABLE)
    if not url:
        return None
    try:
        parts = urlsplit(url)
        secret = parts.password is not None or any("password" in name for name, _ in parse_qsl(parts.query))
    except ValueError:
        parts, secret = None, False
    if parts is None or parts.scheme not in ("postgresql", "postgres") or not parts.path.strip("/"):
        # The text itself is not repeated: somebody may have mistyped an address with a password in it.
        raise SweepError(
            "--storage: must be the address of a PostgreSQL database, but is not one. "
            "Write for example postgresql://user@host/sweeps, or leave it out to use a journal file."
        )
    if secret:
        raise SweepError(
            "--storage: must not hold a password, which would be kept with the sweep, but does. "
            "Write postgresql://user@host/sweeps, and give the password by PGPASSWORD or in ~/.pgpass."
        )
    return url


def place_of(paths: SweepPaths) -> Place:
    """Where the study of a sweep is: what its `study.url` says, or its journal."""
    try:
        return paths.study_url.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return paths.journal


def keep_url(paths: SweepPaths, url: str) -> None:
    """Writes down which database the study of a new sweep is in."""
    with replacing(paths.study_url) as temporary:
        temporary.write_text(url + "\n", encoding="utf-8")
