"""A sweep as its files hold it: what every room reads that shows, compares or reports a sweep."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from sweeps.objectives import Objectives
from sweeps.remote.root import fetch
from sweeps.store.paths import SweepPaths, resolve_root

if TYPE_CHECKING:  # Arrow and Optuna take most of a second: whoever asks for a command's help does without
    from search_spaces.space import Constraint, SearchSpace
    from sweeps.results import Table


@dataclass(frozen=True)
class StoredSweep:
    """Reads one sweep. Tables are read anew at every call, because its driver may be writing.

    Attributes:
        paths: Where it is kept.
        space: Its search space, as it was run.
    """

    paths: SweepPaths
    space: "SearchSpace"

    @classmethod
    def open(cls, root: Path | str | None, name: str, *, summary: bool = False) -> Self:
        """Opens a sweep, after fetching what has changed of it if its root is in an object store.

        Args:
            root: Folder or address of all sweeps; None is the usual one.
            name: The sweep.
            summary: Whether the results are enough, without study and masks.

        Raises:
            SweepError: If there is no such sweep, a part of it lies elsewhere, or the store does not answer.
            SpaceError: If its search space is damaged.
        """
        return cls.at(fetch(SweepPaths(resolve_root(None if root is None else str(root)), name), summary=summary))

    @classmethod
    def at(cls, paths: SweepPaths) -> Self:
        """Opens the sweep whose files lie here, whatever an object store holds by now; see `open`."""
        from search_spaces.load import load
        from sweeps import results

        results.check_exists(paths)
        return cls(paths, load(paths.space))

    @property
    def name(self) -> str:
        """Name of the sweep."""
        return self.paths.name

    @property
    def objectives(self) -> Objectives:
        """Its objectives, with the number of classes of its dataset."""
        known = self.trials({"classes"}, running=True).column("classes").drop_null().unique().to_pylist()
        return Objectives.of(self.space, classes=min(known, default=10))

    def trials(self, columns: Collection[str] | None = None, *, running: bool = False) -> "Table":
        """The ended trials, or those that are running, too; see `sweeps.results.load`."""
        from sweeps import results

        return results.load(self.paths.root, self.name, columns=columns, running=running)

    @property
    def epochs_trained(self) -> int:
        """Number of rows of epochs so far."""
        from sweeps.store import parts

        return sum(parts.row_counts(self.paths.epochs, {}).values())

    def networks(self) -> "Table":
        """Every trial after each of its epochs; see `sweeps.networks.load`."""
        from sweeps import networks

        return networks.load(self.paths.root, self.name)

    def layers(self, networks: "Table") -> "Table":
        """Mask statistics by layer of some networks; see `sweeps.networks.load_layers`."""
        from sweeps.networks import load_layers

        return load_layers(self.paths.root, self.name, networks)

    def epochs(self, trials: Collection[int] | None = None) -> "Table":
        """The epochs of all trials, or of some; see `sweeps.results.load_epochs`."""
        from sweeps import results

        return results.load_epochs(self.paths.root, self.name, trials=trials)

    def confirmations(self) -> "Table":
        """The networks that were trained again with fresh seeds; see `sweeps.confirmations.load`."""
        from sweeps import confirmations

        return confirmations.load(self.paths.confirm)

    def candidates(self, asked: "Iterable[Constraint]" = (), *, every: "Table | None" = None) -> "Table":
        """The networks that can be on a front, see `sweeps.networks.candidates`."""
        from sweeps import networks

        return networks.candidates(self.paths, self.space, asked=asked, every=every)

    def front(self) -> "Table":
        """The front of the networks that keep the constraints, with their configurations.

        See `sweeps.pareto.front_of` and `sweeps.networks.with_trials`.
        """
        from sweeps import networks, pareto  # imports moocore, which takes a third of a second

        return networks.with_trials(pareto.front_of(self.candidates(), self.space), self.trials(running=True))
