"""Where a sweep is kept, which names it may have, and how a file is written so that nobody sees half of it."""

import os
import re
import shlex
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sweeps.errors import SweepError
from sweeps.store.cache import cached_root, is_uri, shown

ROOT_VARIABLE = "SWEEPS_ROOT"
DEFAULT_ROOT = "sweeps-out"
TEMPORARY_PREFIX = ".tmp-"
_OWN = uuid.uuid4().hex[:8]
"""Tells this process from others: two machines that share a root may give the same process number."""
_LEAST_BYTES = 2**20  # a disk that cannot take so much is full before the first trial ends

_MASK = re.compile(r"(\d+)-(\d+)\.safetensors")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_TAKEN = ("mlflow.db", "mlflow-artifacts")
"""What else lives in a root: a sweep of this name would be written into it."""


def check_name(name: str, *, what: str = "name") -> str:
    """Returns `name` if a sweep may have it.

    Args:
        name: Of a sweep.
        what: What gave it, for messages, e.g. `--name`.

    Raises:
        SweepError: If it could leave the root, or hide or overwrite something in it.
    """
    if not _NAME.fullmatch(name):
        raise SweepError(
            f"{what}: must be 1 to 100 letters, digits, '.', '_' or '-', starting with a letter or a digit, "
            f"but got {name!r}. Choose a name like 'fcn_mnist-2'."
        )
    if name in _TAKEN:
        raise SweepError(
            f"{what}: must not be {name!r}, where the MLflow store of the root lives. Choose another name."
        )
    return name


def is_name(name: str) -> bool:
    """Whether a sweep may have this name."""
    return bool(_NAME.fullmatch(name)) and name not in _TAKEN


def resolve_root(option: str | None) -> Path:
    """The folder of all sweeps: `option`, else the environment variable SWEEPS_ROOT, else `./sweeps-out`.

    Returns:
        An absolute path, which need not exist yet; of an address, the folder of its local copy.

    Raises:
        SweepError: If it is an empty name, not a folder, or an address with credentials.
    """
    if option is not None and not option.strip():
        raise SweepError(f"--root: must name a folder, but got {option!r}. Leave it out to use ./{DEFAULT_ROOT}.")
    named = option or os.environ.get(ROOT_VARIABLE) or DEFAULT_ROOT
    if is_uri(named):
        return cached_root(named)
    root = Path(named).expanduser().absolute()
    if root.exists() and not root.is_dir():
        raise SweepError(f"root {root}: must be a folder, but is a file. Choose another place with --root.")
    return root


@dataclass(frozen=True)
class SweepPaths:
    """Where the parts of one sweep are kept.

    Attributes:
        root: The folder of all sweeps.
        name: The sweep's name, checked on construction.
    """

    root: Path
    name: str

    def __post_init__(self) -> None:
        """Checks the name, so that no path built from it leaves the root."""
        check_name(self.name)

    @property
    def folder(self) -> Path:
        """The folder of this sweep."""
        return self.root / self.name

    @property
    def shown(self) -> str:
        """The folder as its user names it: in the object store, where the root is a copy of one."""
        return f"{shown(self.root)}/{self.name}"

    @property
    def root_option(self) -> str:
        """What follows the sweep's name in a command that is to find it; nothing in the usual root."""
        return "" if self.root == resolve_root(None) else f" --root {shlex.quote(shown(self.root))}"

    @property
    def space(self) -> Path:
        """The search space as it was run."""
        return self.folder / "space.yaml"

    @property
    def journal(self) -> Path:
        """The journal of the study."""
        return self.folder / "study.journal"

    @property
    def study_url(self) -> Path:
        """The address of the database that holds the study, where that is not in the journal."""
        return self.folder / "study.url"

    @property
    def sweep_id(self) -> Path:
        """What tells the sweep from others of its name; see `sweeps.tracking.identity`."""
        return self.folder / "sweep.id"

    @property
    def sessions(self) -> Path:
        """A numbered file for each session, by which it holds the sweep; see `sweeps.store.lease`."""
        return self.folder / "sessions"

    @property
    def session(self) -> Path:
        """What the running or last session says of itself."""
        return max(self.sessions.glob("[0-9]*.json"), default=self.sessions / "000001.json")

    @property
    def trials(self) -> Path:
        """The Parquet files with one row per ended trial."""
        return self.folder / "trials"

    @property
    def epochs(self) -> Path:
        """The Parquet files with one row per trial and epoch."""
        return self.folder / "epochs"

    @property
    def masks(self) -> Path:
        """The trained artifacts that are kept."""
        return self.folder / "masks"

    @property
    def checkpoints(self) -> Path:
        """The trained states of trials that have not ended."""
        return self.folder / "checkpoints"

    @property
    def warm_start(self) -> Path:
        """The trials of another sweep that the sampler learns from."""
        return self.folder / "warm_start.json"

    @property
    def log(self) -> Path:
        """What happened, a line each: packs, losses, failures."""
        return self.folder / "log.txt"

    @property
    def candidates(self) -> Path:
        """The networks that can be on a front; follows from the epochs."""
        return self.folder / "candidates.parquet"

    @property
    def confirm(self) -> Path:
        """The Parquet files with one row per confirmed network and fresh seed."""
        return self.folder / "confirm"

    @property
    def confirmed_png(self) -> Path:
        """The picture of the confirmed networks."""
        return self.folder / "confirmed.png"

    @property
    def front_png(self) -> Path:
        """The picture of the front."""
        return self.folder / "front.png"

    def mask(self, trial: int, epoch: int) -> Path:
        """The artifact of a trained network of the front."""
        return self.masks / f"{trial}-{epoch}.safetensors"

    def kept_networks(self) -> list[tuple[int, int]]:
        """Trial and epoch of the networks whose artifacts are there."""
        found = (_MASK.fullmatch(path.name) for path in self.masks.glob("*.safetensors"))
        return sorted((int(match[1]), int(match[2])) for match in found if match)

    @property
    def report(self) -> Path:
        """The page about the sweep."""
        return self.folder / "report.html"


def check_inside(paths: SweepPaths) -> None:
    """Makes sure that what is written to a sweep stays in its folder. No sweep is made with symbolic links.

    Raises:
        SweepError: If a part of it is a link to another place.
    """
    for part in paths.folder.iterdir() if paths.folder.is_dir() else ():
        if not part.is_symlink():
            continue
        try:
            target = part.resolve()
        except FileNotFoundError:  # the journal's lock is a link that a running session makes and removes
            continue
        if not target.is_relative_to(paths.folder.resolve()):
            raise SweepError(
                f"sweep {paths.name}: all of it must lie in {paths.folder}, but {part.name} is a link to "
                f"{target}. Put the file itself there, or remove the link."
            )


def sweep_names(root: Path) -> list[str]:
    """The sweeps under `root`, sorted; empty when there is no such folder."""
    if not root.is_dir():
        return []
    return sorted(folder.name for folder in root.iterdir() if _is_sweep(folder))


def _is_sweep(folder: Path) -> bool:
    if not folder.is_dir() or not is_name(folder.name):
        return False
    return any((folder / part).exists() for part in ("space.yaml", "study.journal", "study.url", "trials"))


@contextmanager
def replacing(path: Path, place: Callable[[Path, Path], object] = Path.replace) -> Iterator[Path]:
    """Yields a temporary path beside `path`; what was written there takes its place when the block ends without error.

    `place` does that, from the one to the other. The temporary name does not end in the suffix of `path`, so that no
    pattern such as `*.parquet` finds an unfinished file.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}-{os.getpid()}-{_OWN}")
    try:
        yield temporary
        _sync(temporary)
        place(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _sync(path: Path) -> None:
    # A rename may reach the disk before the bytes it names, and the folder's entry after both.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_writable(root: Path) -> None:
    """Creates a root if it is missing.

    Raises:
        SweepError: If nothing, or next to nothing, can be written there.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root) as file:
            file.write(bytes(_LEAST_BYTES))
    except OSError as error:
        raise SweepError(
            f"root {root}: must be a folder that can be written, but got: {error}. Choose another with --root DIR."
        ) from error
