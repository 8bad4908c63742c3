"""The front of a session as it grows: for the display, and for the trained networks that are kept."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from search_spaces.space import SearchSpace
from sweeps import pareto
from sweeps.networks import SHOWN, sound
from sweeps.objectives import Claim, Key, Objectives, ParetoArchive
from sweeps.results import BEST, Table, of_trials
from sweeps.store.columns import concat, rows
from sweeps.store.paths import SweepPaths, replacing

Row = dict[str, Any]


class NetworkArchive:
    """All networks that no other beats, with the artifacts of those that also keep the constraints.

    Of the others nothing is kept in memory, so that it does not matter how many there are. An artifact is written when
    its network comes, and removed after what beat it is on disk: at any time the folder has those of the front that
    Parquet holds.

    Args:
        paths: Where the sweep is kept.
        space: Gives objectives and constraints.
        networks: Of earlier sessions.
        in_training: The trials among them that have not ended.
    """

    def __init__(
        self, paths: SweepPaths, space: SearchSpace, networks: Table, *, in_training: Collection[int] = ()
    ) -> None:
        self._paths, self._objectives = paths, Objectives.of(space)
        shown = Objectives(SHOWN | space.objectives)
        members = pareto.front_of(networks, space)
        self._front = ParetoArchive(self._objectives, map(self._objectives.claim, members.to_pylist()))
        leaders = pareto.front(networks, shown)
        self._leaders = ParetoArchive(shown, map(shown.claim, leaders.to_pylist()))
        self.leaders = leaders
        """Networks that no other beats, constraints aside; replaced as a whole, so any thread may read it."""
        self._beaten: set[Key] = set()
        self._best: dict[int, Row] = {}
        asked = (*space.objectives, *(bound.metric for bound in space.constraints))
        self._judged = [*dict.fromkeys(("trial", "epoch", "estimate", "standard_error", "remaining", *asked))]
        self._note_best(of_trials(networks, set(in_training)))
        paths.masks.mkdir(exist_ok=True)
        wanted = {paths.mask(*key).name for key in self._front.claims}
        for path in paths.masks.glob("*.safetensors"):
            if path.name not in wanted:
                path.unlink()

    @property
    def rivals(self) -> list[Claim]:
        """Claims of the front so far: a network beaten by one of these need not be sent."""
        return list(self._front.claims.values())

    @property
    def front(self) -> dict[int, tuple[int, ...]]:
        """Epochs of the networks on the front by trial, rising."""
        found: dict[int, tuple[int, ...]] = {}
        for trial, epoch in sorted(self._front.claims):
            found[trial] = (*found.get(trial, ()), epoch)
        return found

    def add(self, epochs: Table, artifacts: Mapping[Key, bytes]) -> None:
        """Takes networks.

        Args:
            epochs: Their rows, with the columns of `sweeps.results.EPOCHS`.
            artifacts: Of those that may be on the front, by trial and epoch.

        Raises:
            OSError: If an artifact cannot be written.
        """
        networks = sound(epochs.drop_columns(["layers"]) if "layers" in epochs.column_names else epochs)
        self._note_best(networks)
        entered = list[Row]()
        for row in self._unbeaten(networks):
            if self._leaders.add(row) is not None:
                entered.append(row)
            displaced = self._front.add(row)
            if displaced is not None:
                self._beaten.update(displaced)
        if entered:
            known = self.leaders.to_pylist() + entered
            kept = [row for row in known if (row["trial"], row["epoch"]) in self._leaders.claims]
            self.leaders = Table.from_pylist(kept, schema=self.leaders.schema)
        for key in artifacts.keys() & self._front.claims.keys():
            with replacing(self._paths.mask(*key)) as temporary:
                temporary.write_bytes(artifacts[key])

    def best_of(self, trial: int) -> Row:
        """Columns of the best network of a trial, which has ended: it is forgotten."""
        best = self._best.pop(trial, None)
        return {name: best and best[name.removeprefix("best_")] for name in BEST}

    def _note_best(self, networks: Table) -> None:
        networks = networks.select(self._judged)
        numbers = set(networks.column("trial").to_pylist())
        known = [self._best[trial] for trial in numbers & self._best.keys()]
        both = concat([Table.from_pylist(known, schema=networks.schema), networks])
        self._best |= {row["trial"]: row for row in pareto.best_of_trials(both, self._objectives).to_pylist()}

    def settle(self) -> None:
        """What was added is on disk: artifacts of networks that it beats are of no more use."""
        beaten, self._beaten = self._beaten, set()
        for key in beaten - self._front.claims.keys():
            for kept in (self._paths.mask(*key), self._paths.mask(*key).with_suffix(".png")):
                kept.unlink(missing_ok=True)

    def _unbeaten(self, table: Table) -> list[Row]:
        """Rows that some archive may want; most are beaten by far, and are never made into objects."""
        keep = np.zeros(table.num_rows, dtype=bool)
        for objectives, archive in ((self._objectives, self._front), (self._leaders.objectives, self._leaders)):
            costs = objectives.cost_array(lambda metric: pareto.judged(table, metric))
            members = np.array([claim[:-2] for claim in archive.claims.values()]).reshape(-1, costs.shape[1])
            no_worse, better = members[None] <= costs[:, None], members[None] < costs[:, None]
            beaten = no_worse.all(axis=2) & better.any(axis=2)
            keep |= beaten.sum(axis=1) == 0
        return rows(table, keep).to_pylist()
