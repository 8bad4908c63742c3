"""Networks of a sweep: every trial after each of its epochs.

Reading a front must not take reading every epoch. So `candidates.parquet` holds the networks that no other of their
trial beats, up to some part of the epochs; what was written later is read from the parts. It follows from them, may be
missing, and is made anew at the end of a session.
"""

import logging
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import Table

from sweeps import results
from sweeps.errors import SweepError
from sweeps.estimate import WINDOW, Estimate, estimate
from sweeps.objectives import Objectives
from sweeps.pareto import own_fronts
from sweeps.results import EPOCHS
from sweeps.store import parts
from sweeps.store.columns import floats, integers, rows
from sweeps.store.parts import newest
from sweeps.store.paths import SweepPaths, replacing

if TYPE_CHECKING:
    from search_spaces.space import Constraint, SearchSpace

NETWORKS = pa.schema([field for field in EPOCHS if field.name != "layers"])
"""Columns of a network."""

SHOWN = {"val_accuracy": "maximize", "remaining": "minimize"}
"""What the best networks are named by, beside the objectives."""
_KEYS = ("trial", "epoch", "attempt")
_PART, _RULE = b"part", b"rule"

_LOG = logging.getLogger(__name__)


def load(root: Path | str, name: str, *, trials: Collection[int] | None = None) -> Table:
    """The networks of a sweep: every trial after each of its epochs, also of those that were stopped or failed later.

    Of an epoch that several attempts reached, the latest one counts. An epoch in which a trial diverged is no network.

    Args:
        root: The folder of all sweeps.
        name: The sweep.
        trials: Only of these; None is all.

    Returns:
        A table with the columns of `sweeps.results.EPOCHS` but `layers`, sorted by trial and epoch.

    Raises:
        SweepError: If there is no such sweep.
    """
    where = None if trials is None else pc.field("trial").isin(list(trials))
    return with_estimates(_networks_of(parts.read(results.folder_of(root, name).epochs, NETWORKS, where=where)))


def _networks_of(epochs: Table) -> Table:
    """The networks out of rows with the columns of `NETWORKS`, as they were written; see `load`."""
    return sound(newest(epochs, _KEYS, per=("trial", "epoch")))


def sound(epochs: Table) -> Table:
    """Rows of epochs without those in which a trial diverged: these are no networks."""
    keep = np.ones(epochs.num_rows, dtype=bool)
    for metric in ("train_loss", "val_loss", "val_accuracy"):
        keep &= np.isfinite(floats(epochs, metric))
    return epochs if keep.all() else rows(epochs, keep)


def with_trials(networks: Table, trials: Table) -> Table:
    """Networks with what is known of their trials: configuration, place, and state as `trial_state`.

    The configuration is the one whose training ends with the network: `epochs` is its epoch.

    Args:
        networks: From `load`.
        trials: From `sweeps.results.load`, running ones included; networks of others are left out.
    """
    numbers, wanted = integers(trials, "trial"), integers(networks, "trial")
    networks = rows(networks, np.isin(wanted, numbers))
    known = rows(trials, np.searchsorted(numbers, integers(networks, "trial")))
    for name in known.column_names:
        if name not in networks.column_names:
            column = networks.column("epoch") if name == "epochs" else known.column(name)
            networks = networks.append_column("trial_state" if name == "state" else name, column)
    return networks


def load_layers(root: Path | str, name: str, networks: Table) -> Table:
    """Mask statistics by layer of some networks.

    Args:
        root: The folder of all sweeps.
        name: The sweep.
        networks: Of the sweep, from `load`.

    Returns:
        The columns `trial`, `epoch`, `attempt` and `layers`, a row per network, sorted by trial and epoch.

    Raises:
        SweepError: If there is no such sweep.
    """
    schema = pa.schema([EPOCHS.field(column) for column in (*_KEYS, "layers")])
    where = pc.field("trial").isin(np.unique(integers(networks, "trial")).tolist())
    epochs = parts.read(results.folder_of(root, name).epochs, schema, where=where)
    wanted = rows(epochs, np.isin(numbers_of(epochs), numbers_of(networks)))
    return newest(wanted, _KEYS, per=("trial", "epoch"))


def numbers_of(networks: Table) -> np.ndarray:
    """A number for each network, in the order of trials and epochs, of which there are a million at most."""
    return integers(networks, "trial") * 2**24 + integers(networks, "epoch")


def with_estimates(networks: Table) -> Table:
    """The networks with their estimates, which an older version did not write.

    Args:
        networks: Of whole trials, sorted by trial and epoch.
    """
    if not networks.column("estimate").null_count:
        return networks
    accuracies, trials = floats(networks, "val_accuracy"), floats(networks, "trial")
    steps = np.diff(np.unique(accuracies))
    images = round(1 / steps.min()) if len(steps) else 1  # accuracies are counts among so many images
    found = list[Estimate]()
    recent: list[float] = []
    for place, accuracy in enumerate(accuracies.tolist()):
        recent = [*recent[-WINDOW:], accuracy] if place and trials[place] == trials[place - 1] else [accuracy]
        found.append(estimate(recent, images))
    for name in ("estimate", "standard_error"):
        column = pa.array([getattr(one, name) for one in found], pa.float64())
        known = networks.column(name).combine_chunks().fill_null(column)
        networks = networks.set_column(networks.column_names.index(name), name, known)
    return networks


def candidates(
    paths: SweepPaths, space: "SearchSpace", *, asked: "Iterable[Constraint]" = (), every: Table | None = None
) -> Table:
    """Networks of a sweep, with all that can be on a front within the constraints and bounds.

    Args:
        paths: Of the sweep.
        space: Gives objectives and constraints.
        asked: Bounds beside the constraints.
        every: All networks, where they have been read.

    Returns:
        A table as from `load`; of a bound that a network beyond the front may keep while those
        that beat it do not, all networks.

    Raises:
        SweepError: If there is no such sweep.
    """
    found = _candidates(paths, space) if _keep_fronts(space, asked) else None
    if found is None:
        return load(paths.root, paths.name) if every is None else every
    return found


def _candidates(paths: SweepPaths, space: "SearchSpace") -> Table | None:
    """The candidates that were kept, and what was written later; None if all networks must be read."""
    known = _read(paths, space)
    if known is None:
        return None
    table, part = known
    later = parts.read_after(paths.epochs, NETWORKS, part).rows
    if not later.num_rows:
        return table
    if _networks_of(later).column("estimate").null_count:  # of an older version: judged from all epochs of their trials
        return None
    if np.isin(numbers_of(later), numbers_of(table)).any():  # trained again: what it has beaten may count now
        return None
    return _networks_of(pa.concat_tables([table, later]))


def keep_candidates(paths: SweepPaths, space: "SearchSpace", networks: Table) -> None:
    """Keeps the candidates out of all networks; of a sweep that no driver is at work on, or by that driver.

    Args:
        paths: Of the sweep.
        space: Gives the objectives.
        networks: As they were read after the last part was written.
    """
    notes = {_PART: str(parts.last_number(paths.epochs)).encode(), _RULE: _rule(space)}
    table = own_fronts(networks, _shown(space)).replace_schema_metadata(notes)
    try:
        with replacing(paths.candidates) as temporary:
            pq.write_table(table, temporary, compression="zstd")
    except OSError as error:
        _LOG.warning("%s: could not be written: %s", paths.candidates.name, error)


def _shown(space: "SearchSpace") -> Objectives:
    return Objectives(SHOWN | space.objectives, scales=space.scales)


def _rule(space: "SearchSpace") -> bytes:
    return repr(sorted((SHOWN | space.objectives).items())).encode()


def _keep_fronts(space: "SearchSpace", asked: "Iterable[Constraint]") -> bool:
    """Whether whatever beats a network that keeps all bounds keeps them, too."""
    ways = {"maximize": ">=", "minimize": "<="}
    shown = SHOWN | space.objectives
    return all(
        bound.metric in shown and ways[shown[bound.metric]] == bound.operator for bound in (*space.constraints, *asked)
    )


def _read(paths: SweepPaths, space: "SearchSpace") -> tuple[Table, int] | None:
    try:
        with pq.ParquetFile(paths.candidates) as file:  # `read_table` imports pandas, which takes as long as all else
            table = file.read()
        notes = table.schema.metadata or {}
        if notes.get(_RULE) == _rule(space) and table.schema.equals(NETWORKS):
            return table.replace_schema_metadata(None), int(notes[_PART])
    except (OSError, pa.ArrowException, KeyError, ValueError, SweepError):
        pass  # missing, damaged or of another version: it follows from the epochs
    return None
