"""Who decides at rungs, for the packs of all nodes: an actor beside the driver."""

from pathlib import Path

import numpy as np

from search_spaces.space import SearchSpace, Stopping
from sweeps import results
from sweeps.search.halving import Rungs, is_rung, records_of
from sweeps.store.columns import integers


class Judge(Rungs):
    """Rungs that begin with what the driver has written, of this session too: the actor may die and be made anew."""

    def __init__(self, root: Path, name: str, space: SearchSpace, stopping: Stopping) -> None:
        """Reads the epochs of a sweep.

        Args:
            root: The folder of all sweeps, on this machine.
            name: The sweep.
            space: Gives objectives and constraints.
            stopping: Gives eta and the first rung.
        """
        epochs = results.load_epochs(root, name).drop_columns(["layers"])
        numbers = integers(epochs, "epoch")
        # Of long trials a small part: the rows of rungs, and of the epochs before them.
        wanted = [number for number in np.unique(numbers) if is_rung(number, stopping) or is_rung(number + 1, stopping)]
        rows = epochs.filter(np.isin(numbers, wanted)).to_pylist()
        super().__init__(space, stopping, records_of(rows, space, stopping))
