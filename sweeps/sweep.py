"""The noun that everything hangs on: a sweep that runs, resumes, confirms, reports and hands out its results."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

from search_spaces import shipped
from search_spaces.space import SearchSpace
from sweeps.driver.options import PackOptions, SessionOptions, options_of, or_remembered
from sweeps.errors import SweepError
from sweeps.objectives import Key
from sweeps.remote.root import fetch, sending
from sweeps.results import Table
from sweeps.store.cache import shown
from sweeps.store.paths import SweepPaths, check_name, resolve_root
from sweeps.stored import StoredSweep

if TYPE_CHECKING:
    from rich.console import Console

    from sweeps.analysis.confirmed import Confirmed
    from sweeps.analysis.selection import Selection
    from sweeps.driver.options import Options
    from sweeps.run import Outcome

Network = dict[str, Any]
"""Row of a network with what is known of its trial, see `sweeps.networks.with_trials`."""


class Sweep:
    """A named sweep under a root.

    Reading loads neither Ray nor MLflow nor PyTorch; `run` and `confirm` do. Messages name options as the command line
    does.

    Args:
        paths: Where it is kept, or will be.
        space: What it searches.
    """

    def __init__(self, paths: SweepPaths, space: SearchSpace) -> None:
        self._stored = StoredSweep(paths, space)

    def __repr__(self) -> str:
        return f"Sweep({self.name!r}, root={shown(self.paths.root)!r})"

    @classmethod
    def create(
        cls,
        space: SearchSpace | Path | str,
        name: str | None = None,
        *,
        root: Path | str | None = None,
        changes: Sequence[str] = (),
    ) -> Self:
        """Prepares a new sweep. Nothing is written before `run`.

        Args:
            space: Name of a shipped search space, a YAML file, or a search space.
            name: Name of the sweep; by default the space's.
            root: Folder or address of all sweeps; by default that of SWEEPS_ROOT, else `./sweeps-out`.
            changes: Changes of a shipped space or a file, as for `sweeps run --set`, e.g. `fixed.epochs=20`.

        Raises:
            SpaceError: If the space cannot be used, naming every fault.
            SweepError: If a sweep of this name exists.
        """
        if not isinstance(space, SearchSpace):
            space = shipped.find(str(space), changes, {"--name": name})
        elif changes:
            raise SweepError(
                f"changes: must be of a shipped space or a file, but got {list(changes)} of a search space. "
                "Change it with dataclasses.replace."
            )
        space = replace(space, name=check_name(name or space.name))
        paths = SweepPaths(resolve_root(None if root is None else str(root)), space.name)
        if paths.folder.exists():
            raise SweepError(
                f"sweep {space.name}: the name must be free, but {paths.shown} exists. "
                f"Go on with it: Sweep.open({space.name!r}); or choose another name: name='OTHER'."
            )
        return cls(paths, space)

    @overload
    @classmethod
    def open(cls, root: Path | str | None, name: str, /) -> Self: ...

    @overload
    @classmethod
    def open(cls, name: str, /, *, root: Path | str | None = None) -> Self: ...

    @classmethod
    def open(cls, first: Any, second: str | None = None, /, *, root: Path | str | None = None) -> Self:
        """Opens an existing sweep: `Sweep.open(root, name)`, or `Sweep.open(name)` in the usual root.

        If the root is in an object store, this fetches what has changed; open it again to see later changes.

        Raises:
            SweepError: If there is no such sweep.
            SpaceError: If its search space is damaged.
        """
        stored = StoredSweep.open(root, first) if second is None else StoredSweep.open(first, second)
        return cls(stored.paths, stored.space)

    @property
    def paths(self) -> SweepPaths:
        """Where it is kept."""
        return self._stored.paths

    @property
    def name(self) -> str:
        """Its name."""
        return self._stored.name

    @property
    def space(self) -> SearchSpace:
        """What it searches, as it was run."""
        return self._stored.space

    def trials(self, columns: Collection[str] | None = None) -> Table:
        """The ended trials, one row each, with the columns of `sweeps.results.TRIALS` or those asked for.

        Raises:
            SweepError: If the sweep has not been run.
        """
        return self._stored.trials(columns)

    def epochs(self, trials: Collection[int] | None = None) -> Table:
        """The epochs of all trials, running ones included, or of some; the columns of `sweeps.results.EPOCHS`.

        Raises:
            SweepError: If the sweep has not been run.
        """
        return self._stored.epochs(trials)

    def confirmations(self) -> Table:
        """Trainings with fresh seeds, one row each, with the columns of `sweeps.confirmations.CONFIRMATIONS`."""
        return self._stored.confirmations()

    def networks(self) -> Table:
        """Every trial after each of its epochs, running ones included; see `sweeps.networks.load`.

        Raises:
            SweepError: If the sweep has not been run.
        """
        return self._stored.networks()

    def front(self) -> Table:
        """The networks that keep the constraints and that no other such network beats, best estimate first.

        A network is a trial after one of its epochs; its row has its `trial`, `epoch`, `estimate` with
        `standard_error`, its metrics, and the configuration whose training ends with it.

        Raises:
            SweepError: If the sweep has not been run.
        """
        return self._stored.front()

    def knee(self) -> Network:
        """The network of the front where giving up more of one objective gains little of the other.

        Raises:
            SweepError: If the front is empty, or there are not exactly two objectives.
        """
        from sweeps.analysis import selection

        return self._select(selection.Selection("knee", label="knee"))

    def best(self, bound: str) -> Network:
        """The network with the fewest weights that is accurate enough, or the most accurate one that is small enough.

        Args:
            bound: `accuracy >= X` or `remaining <= X`, with X in [0, 1].

        Raises:
            SweepError: If it is no such bound, or no network keeps it and the constraints.
        """
        from sweeps.analysis import selection

        return self._select(selection.parse_best(bound))

    def _select(self, asked: "Selection") -> Network:
        from sweeps.analysis.selection import select

        return select(
            asked,
            self._stored.candidates([asked.bound] if asked.bound else []),
            self._stored.trials(running=True),
            self.space,
        )[0]

    def run(
        self, trials: int | None = None, *, console: "Console | None" = None, **options: Unpack[SessionOptions]
    ) -> "Outcome":
        """Works through the sweep until its budget is used up; goes on with what an earlier session left.

        Args:
            trials: New budget, no less than before; None leaves it.
            console: For progress and messages; by default standard error, or the cell of a notebook.
            options: How and where to run; see `sweeps.driver.options.SessionOptions`.

        Raises:
            SweepError: If another driver is at work on it, or it cannot be run as asked.
            ConfigError: If a dataset is missing or does not fit.
        """
        from sweeps import run
        from sweeps.driver.plan import extend

        console = console or _console()
        begin, space = run.resume, self.space
        if self.paths.folder.exists():
            asked = self._old(options)
            space = extend(space, None if trials is None else str(trials))
        else:
            asked, begin = self._new(options), run.run
            space = space if trials is None else replace(space, trials=_count("--trials", trials))
        with sending(self.paths, console.print, mlflow=not asked.tracking_uri):
            outcome = begin(space, asked, console)
        self._stored = StoredSweep(self.paths, space)
        return outcome

    def _new(self, options: SessionOptions) -> "Options":
        from sweeps.search.study_place import resolve_storage

        if teacher := options.get("warm_start"):
            fetch(SweepPaths(self.paths.root, check_name(teacher, what="--warm-start")), summary=True)
        options["storage"] = resolve_storage(options.get("storage"))
        return options_of(root=self.paths.root, **options)

    def _old(self, options: SessionOptions | PackOptions) -> "Options":
        for name in ("storage", "warm_start"):
            if options.get(name):
                raise SweepError(
                    f"--{name.replace('_', '-')}: must be given to a new sweep, but {self.name} exists. Leave it out."
                )
        remembered = {name: options.get(name) for name in ("checkpoint_seconds", "tracking_uri", "data")}
        return options_of(root=self.paths.root, **{**options, **or_remembered(self.paths, **remembered)})

    def confirm(
        self,
        select: str = "front",
        *,
        seeds: int = 10,
        console: "Console | None" = None,
        **options: Unpack[PackOptions],
    ) -> "list[Confirmed]":
        """Trains chosen networks again with fresh seeds and reads the test set; what is trained already is kept.

        Args:
            select: `front`, `knee`, `best:accuracy>=X`, `best:remaining<=X`, or networks like `3@20,17`.
            seeds: Fresh seeds for each network, >= 1.
            console: For progress and messages; by default standard error, or the cell of a notebook.
            options: How and where to train; see `sweeps.driver.options.PackOptions`.

        Returns:
            Means and intervals of the chosen networks, best mean test accuracy first.

        Raises:
            SweepError: If there is no such network, or another process confirms.
        """
        from sweeps.confirm import confirm

        console, asked = console or _console(), self._old(options)
        with sending(self.paths, console.print, what="confirm", mlflow=not asked.tracking_uri):
            return confirm(self.paths, self.space, asked, console, select=select, seeds=_count("--seeds", seeds))

    def report(self, *, beside: Sequence[str] = ()) -> Path:
        """Writes the report, one HTML file that works offline, as `ROOT/NAME/report.html`.

        Args:
            beside: Names of other sweeps of the root, at most 3, whose fronts are drawn as well.

        Raises:
            SweepError: If one of the sweeps does not exist or has other objectives.
        """
        from sweeps.report import document

        others = [
            StoredSweep.open(self.paths.root, check_name(other, what="--beside"), summary=True) for other in beside
        ]
        return document.write(self._stored, beside=others, draw_mask=_draw_mask if find_spec("torch") else None)


def _count(option: str, number: int) -> int:
    if number < 1:
        raise SweepError(f"{option}: must be 1 or more, but got {number}. Leave it out to have the usual number.")
    return number


def _console() -> "Console":
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def _draw_mask(paths: SweepPaths, key: Key) -> Path:
    from sweeps.figures.kept_mask import draw  # PyTorch takes seconds to import, and a drawn mask stays

    return draw(paths, key)
