"""Networks that can be on a front, kept beside the epochs: reading a front must not take reading every epoch.

`candidates.parquet` holds the networks that no other of their trial beats, up to some part of the epochs; what was
written later is read from the parts. It follows from them, may be missing, and is made anew at the end of a session.
"""

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import Table

from sweeps import results
from sweeps.errors import SweepError
from sweeps.objectives import Objectives
from sweeps.pareto import own_fronts
from sweeps.store import parts
from sweeps.store.paths import SweepPaths, replacing

if TYPE_CHECKING:
    from search_spaces.space import Constraint, SearchSpace

SHOWN = {"val_accuracy": "maximize", "remaining": "minimize"}
"""What the best networks are named by, beside the objectives."""
_PART, _RULE = b"part", b"rule"

_LOG = logging.getLogger(__name__)


def load(paths: SweepPaths, space: "SearchSpace", *, asked: "Iterable[Constraint]" = ()) -> Table:
    """Networks of a sweep, with all that can be on a front within the constraints and bounds.

    Args:
        paths: Of the sweep.
        space: Gives objectives and constraints.
        asked: Bounds beside the constraints.

    Returns:
        A table as from `sweeps.results.load_networks`; of a bound that a network beyond the front may keep while those
        that beat it do not, all networks.

    Raises:
        SweepError: If there is no such sweep.
    """
    known = _read(paths, space) if _keep_fronts(space, asked) else None
    if known is None:
        return results.load_networks(paths.root, paths.name)
    table, part = known
    later = parts.read_after(paths.epochs, results.NETWORKS, part).rows
    if later.column("estimate").null_count:  # of an older version: judged from all epochs of their trials
        return results.load_networks(paths.root, paths.name)
    return results.networks_of(pa.concat_tables([table, later]))


def write(paths: SweepPaths, space: "SearchSpace", networks: Table) -> None:
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
        table = pq.read_table(paths.candidates)
        notes = table.schema.metadata or {}
        if notes.get(_RULE) == _rule(space) and table.schema.equals(results.NETWORKS):
            return table.replace_schema_metadata(None), int(notes[_PART])
    except (OSError, pa.ArrowException, KeyError, ValueError, SweepError):
        pass  # missing, damaged or of another version: it follows from the epochs
    return None
