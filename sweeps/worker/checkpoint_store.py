"""Where packs send their checkpoints, and learn that they are preempted.

On Ray it is an actor beside the driver, without Ray an object in the driver's process. As an actor it also tells the
drivers of other sweeps on the cluster what this one needs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from sweeps.worker.checkpoints import Checkpoint, Reached, path_of, read, write


class CheckpointStore:
    """Keeps the states of trials: of those that wait for a new pack in memory, of all now and then on disk.

    A state of the paper's FCN takes 2 MB, of Conv8 about 40 MB; no more wait than fill a pack of each structure and
    rung.

    Args:
        folder: Where its files go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: dict[int, Checkpoint] = {}
        self._preempted: set[int] = set()
        self._ending = False
        self._demand: list[float] = []

    def preempt(self, packs: Iterable[int], *, ending: bool) -> None:
        """Marks packs that are to write checkpoints and end.

        Args:
            packs: Their numbers.
            ending: Whether the session ends: states go to disk at once, for nobody takes them from memory any more.
        """
        self._preempted.update(packs)
        self._ending |= ending

    def is_preempted(self, pack: int) -> bool:
        """Whether a pack is to write its checkpoints and end."""
        return pack in self._preempted

    def publish(self, demand: list[float]) -> None:
        """Takes what the sweep needs of the cluster, see `sweeps.driver.sharing.Demand`."""
        self._demand = demand

    def demand(self) -> list[float]:
        """What was published last; plain numbers, because another version of this project may ask."""
        return self._demand

    def keep(self, checkpoint: Checkpoint, *, waiting: bool, durable: bool) -> str | None:
        """Takes a state.

        Args:
            checkpoint: The state.
            waiting: Whether its trial waits for a new pack, so that it is kept in memory.
            durable: Whether it is written to disk.

        Returns:
            Why it could not be written, if so; its trial's last file is as it was then.
        """
        trial = checkpoint.reached.trial
        self._waiting.pop(trial, None)
        if waiting and not self._ending:
            # What arrived lies in the memory that all processes of the node share, which is small.
            arrays = {name: array.copy() for name, array in checkpoint.arrays.items()}
            self._waiting[trial] = replace(checkpoint, arrays=arrays)
        return self._write(checkpoint) if durable or (waiting and self._ending) else None

    def take(self, trials: Sequence[int], epoch: int) -> list[Checkpoint]:
        """Gives the states of trials for a pack, in their order; those in memory are forgotten.

        Raises:
            LookupError: If the state of one after so many epochs is not here; the driver asks what is, see `reached`.
        """
        found = [self._waiting.get(trial) or read(self._folder, trial) for trial in trials]
        there = [checkpoint for checkpoint in found if checkpoint and checkpoint.reached.epoch == epoch]
        if len(there) < len(trials):
            gone = sorted(set(trials) - {checkpoint.reached.trial for checkpoint in there})
            raise LookupError(f"the trained states of trials {gone} after epoch {epoch} are gone")
        for trial in trials:
            self._waiting.pop(trial, None)
        return there

    def reached(self, trials: Iterable[int]) -> dict[int, Reached]:
        """How far the states go that are kept of these trials; a trial without one is left out."""
        found = (self._waiting.get(trial) or read(self._folder, trial) for trial in trials)
        return {checkpoint.reached.trial: checkpoint.reached for checkpoint in found if checkpoint}

    def settle(self) -> None:
        """Writes the states that are in memory only: the session ends."""
        for checkpoint in self._waiting.values():
            self._write(checkpoint)

    def forget(self, trials: Iterable[int]) -> None:
        """Removes the states of trials that have ended."""
        for trial in trials:
            self._waiting.pop(trial, None)
            path_of(self._folder, trial).unlink(missing_ok=True)

    def _write(self, checkpoint: Checkpoint) -> str | None:
        try:
            write(self._folder, checkpoint)
        except OSError as error:
            where = path_of(self._folder, checkpoint.reached.trial)
            return f"{where}: must be written, but got: {error}. Free some space."
        return None
