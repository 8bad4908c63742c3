"""What commands do about a root in an object store; nothing about any other root."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.errors import SweepError
from sweeps.store.cache import shown, uri_of
from sweeps.store.paths import SweepPaths

if TYPE_CHECKING:
    from sweeps.remote.client import ObjectStore
    from sweeps.remote.local_copy import LocalCopy, Part
    from sweeps.remote.sender import Sender

Say = Callable[[str], None]

_SUMMARY = ("space.yaml", "sweep.id", "study.url", "sessions", "trials", "epochs", "candidates.parquet", "confirm")
_RARE = ("checkpoints",)


def fetch(paths: SweepPaths, *, summary: bool = False, mlflow: bool = False) -> SweepPaths:
    """Brings what has changed of a sweep since the last command.

    Args:
        paths: Of the sweep.
        summary: Whether the results are enough, without study and masks.
        mlflow: Whether the root's MLflow store is needed, too.

    Returns:
        The same.

    Raises:
        SweepError: If the store does not answer.
    """
    uri = uri_of(paths.root)
    if uri is None:
        return paths
    from sweeps.remote.local_copy import MLFLOW, confirm_part, sweep_part

    def wanted(name: str) -> bool:
        section = name.removeprefix(f"{paths.name}/").partition("/")[0]
        return section in _SUMMARY if summary else section not in _RARE

    store = _open(uri)
    with _answering(uri):
        for part in (sweep_part(paths.name), confirm_part(paths.name)):
            _copy(paths.root, part, store).fetch(wanted)
        if mlflow:
            _copy(paths.root, MLFLOW, store).fetch()
    return paths


def fetch_summaries(root: Path) -> None:
    """Brings what has changed of the trials of all sweeps of a root.

    Raises:
        SweepError: If the store does not answer.
    """
    uri = uri_of(root)
    if uri is None:
        return
    from sweeps.store.paths import is_name

    with _answering(uri):
        names = [name for name in _open(uri).folders() if is_name(name)]
    for name in names:
        fetch(SweepPaths(root, name), summary=True)


def check_writable(root: Path) -> str | None:
    """Writes a small object to the store of a root and deletes it.

    Returns:
        The store's address; None if the root is in none, and nothing was done.

    Raises:
        SweepError: If the store does not answer, or takes nothing.
    """
    uri = uri_of(root)
    if uri is None:
        return None
    with _answering(uri):
        _open(uri).probe()
    return uri


@contextmanager
def sending(paths: SweepPaths, say: Say, *, what: str = "sweep", mlflow: bool) -> Iterator[None]:
    """Brings a sweep with all that belongs to it, and sends what is written within, also when that ends by an error.

    Args:
        paths: Of the sweep.
        say: Told where everything is, or what is not in the store.
        what: `sweep`, `confirm`, or `mlflow` for nothing but the MLflow store.
        mlflow: Whether the root's MLflow store is written, too: it is sent at the end.

    Raises:
        SweepError: If the store does not answer at the beginning, another process of this machine works on the sweep or
            sends it, or the store did not take everything.
    """
    uri = uri_of(paths.root)
    if uri is None:
        yield
        return
    from sweeps.remote.local_copy import MLFLOW, confirm_part, sweep_part
    from sweeps.remote.sender import Sender

    store = _open(uri)
    with _answering(uri):
        store.probe()
    fetch(paths)
    parts = {"sweep": [sweep_part(paths.name)], "confirm": [confirm_part(paths.name)], "mlflow": []}[what]
    with ExitStack() as stack:
        with _answering(uri):
            copies = [_copy(paths.root, part, store) for part in parts]
            books = [_copy(paths.root, MLFLOW, store)] if mlflow else []
            for copy in [*copies, *books]:
                copy.fetch()
        last_of = {copy: stack.enter_context(copy.used()) for copy in books}
        for copy in copies:
            if not stack.enter_context(copy.claimed()):
                raise _taken(copy, what=f"{'sweeps confirm' if what == 'confirm' else what} {paths.name}")
        senders = [Sender(copy) for copy in copies]
        failed = True
        try:
            yield
            failed = False
        finally:
            left = [name for sender in senders for name in sender.close()]
            # The MLflow store changes all the time while it is written: it is sent when nobody does any more.
            # Of several processes here that write it, the last one does: in between it is no whole file.
            late = [Sender(copy) for copy in books if last_of[copy]() and stack.enter_context(copy.claimed())]
            left += [name for sender in late for name in sender.close()]
            if left:
                _tell(_unsent(left, paths, [*senders, *late], what), say, failed=failed)
            elif any(sender.sent for sender in (*senders, *late)):
                say(f"store:    everything is in {uri}")


def _taken(copy: "LocalCopy", *, what: str) -> SweepError:
    """Why another process of this machine has a copy: it holds the lease, or has given it back and sends the rest."""
    from sweeps.store import lease

    try:
        lease.refuse_if_held(copy.root / str(copy.part.sessions), what=what)
    except SweepError as error:
        return error
    return SweepError(
        f"{what}: only one process may work on it, but one of this machine still sends what it did to "
        f"{shown(copy.root)}. Wait for it."
    )


def _tell(text: str, say: Say, *, failed: bool) -> None:
    if not failed:
        raise SweepError(text, exit_code=1)
    say(text)


def _unsent(left: list[str], paths: SweepPaths, senders: list["Sender"], what: str) -> str:
    uri = shown(paths.root)
    size = sum((paths.root / name).stat().st_size for name in left if (paths.root / name).exists())
    which = ", ".join(sorted(left)[:3]) + (", ..." if len(left) > 3 else "")
    lost = any(sender.lost for sender in senders)
    why = "another driver has taken over"
    if not lost:
        why = next(sender.fault for sender in senders if sender.fault)
    again = f"sweeps resume {paths.name} --root '{uri}'" if what == "sweep" else "the same command once more"
    then = f"Send them from this machine: {again}"
    if lost:
        then = "They are of no use any more; the next command sets them aside"
    return (
        f"{uri}: must hold all results, but {len(left)} files ({size / 2**20:.1f} MiB: {which}) are not there yet: "
        f"{why.removeprefix(f'{uri}: ')}. They are kept in {paths.root}. {then}"
    )


def _copy(root: Path, part: "Part", store: "ObjectStore") -> "LocalCopy":
    from sweeps.remote.local_copy import LocalCopy

    return LocalCopy(root, part, store)


def _open(uri: str) -> "ObjectStore":
    from sweeps.remote.client import ObjectStore

    return ObjectStore(uri)


@contextmanager
def _answering(uri: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        text = str(error).removeprefix(f"{uri}: ")
        raise SweepError(f"root {uri}: {text}. {_remedy(error, uri)}", exit_code=1) from None


def _remedy(error: OSError, uri: str) -> str:
    from sweeps.remote.connection import credentials_of

    match error:
        case NotADirectoryError():
            return "Create it, or correct --root."
        case FileNotFoundError():
            return "A driver merged its files while they were read. Try again."
        case PermissionError():
            return f"Check the rights of this account and its credentials ({credentials_of(uri)})."
        case _:
            return f"Check the address, the network and the credentials ({credentials_of(uri)})."
