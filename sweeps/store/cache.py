"""Roots in an object store: each has a folder in the cache, where commands work as they do in any other root."""

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from sweeps.errors import SweepError

CACHE_VARIABLE = "SWEEPS_CACHE"
DEFAULT_CACHE = "~/.cache/supermask-sweeps"
BOOKS = ".store"
"""Folder of a cached root that says of which store it is a copy, and what the two have in common."""

_SECRETS = ("key", "secret", "token", "password")


def is_uri(text: str) -> bool:
    """Whether a root is named by an address rather than by a path."""
    return "://" in text


def cache_folder() -> Path:
    """Where this user's copies and measurements are kept."""
    return Path(os.environ.get(CACHE_VARIABLE) or DEFAULT_CACHE).expanduser().absolute()


def cached_root(uri: str) -> Path:
    """The folder for the copies of a root's sweeps; created if missing.

    Args:
        uri: For example `s3://bucket/prefix`.

    Raises:
        SweepError: If it holds credentials, or the cache cannot be written.
    """
    _refuse_credentials(uri)
    uri = uri.rstrip("/")
    cache = cache_folder()
    readable = re.sub(r"[^A-Za-z0-9]+", "-", uri.partition("?")[0]).strip("-")[:80]
    root = cache / f"{readable}-{hashlib.sha256(uri.encode()).hexdigest()[:8]}"
    try:
        (root / BOOKS).mkdir(parents=True, exist_ok=True)
        (root / BOOKS / "uri").write_text(uri + "\n", encoding="utf-8")
    except OSError as error:
        raise SweepError(
            f"{CACHE_VARIABLE} {cache}: must be a folder that can be written, but got: {error}. Choose another."
        ) from error
    return root


def uri_of(root: Path) -> str | None:
    """The address of which a root is a copy; None of any other root."""
    try:
        return (root / BOOKS / "uri").read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None


def shown(root: Path) -> str:
    """A root as its user names it."""
    return uri_of(root) or str(root)


def _refuse_credentials(uri: str) -> None:
    try:
        parts = urlsplit(uri)
        # In Azure's addresses a container stands where others have a user.
        user = bool(parts.username) and not parts.scheme.startswith("abfs")
        secret = user or parts.password is not None
        secret = secret or any(word in name.lower() for name, _ in parse_qsl(parts.query) for word in _SECRETS)
    except ValueError:
        secret = "@" in uri
    if secret:
        # The address itself is not repeated.
        raise SweepError(
            "--root: must not hold credentials, which would be kept and shown, but does. Write for example "
            "s3://bucket/prefix, and give them by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or by AWS_PROFILE."
        )
