"""Loops that train at the same time, each in a process of its own."""

import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import torch

from supermask.config import TrainConfig
from supermask.data import Dataset


class Processes:
    """One loop in each of several processes of one thread: they run at the same time.

    Args:
        make: Makes a loop with `steps` and `epoch` from its configurations and the dataset; a function of a module.
        groups: Configurations of each process.
        dataset: Of all of them.
    """

    def __init__(
        self,
        make: Callable[[Sequence[TrainConfig], Dataset], Any],
        groups: Sequence[Sequence[TrainConfig]],
        dataset: Dataset,
    ) -> None:
        self.lanes = sum(map(len, groups))
        context = multiprocessing.get_context("forkserver")  # of which each process has PyTorch at once
        context.set_forkserver_preload(["torch"])
        self._pipes: list[Connection] = []
        self._processes: list[Any] = []
        for group in groups:
            own, other = context.Pipe()
            process = context.Process(target=_serve, args=(other, make, group, dataset.to_arrays()), daemon=True)
            process.start()
            other.close()  # so that a process that dies is seen as the end of its pipe
            self._pipes.append(own)
            self._processes.append(process)
        self._wait()

    def steps(self) -> None:
        """Trains every model on the whole training part once."""
        self._all("steps")

    def epoch(self) -> None:
        """Trains and validates every model."""
        self._all("epoch")

    def close(self) -> None:
        """Ends the processes."""
        for pipe in self._pipes:
            pipe.send("end")
        for process in self._processes:
            process.join()

    def _all(self, action: str) -> None:
        for pipe in self._pipes:
            pipe.send(action)
        self._wait()

    def _wait(self) -> None:
        for pipe in self._pipes:
            pipe.recv()


def _serve(
    pipe: Connection,
    make: Callable[[Sequence[TrainConfig], Dataset], Any],
    configs: Sequence[TrainConfig],
    arrays: dict[str, Any],
) -> None:
    torch.set_num_threads(1)
    loop = make(configs, Dataset.from_arrays(arrays))
    pipe.send("ready")
    while (action := pipe.recv()) != "end":
        getattr(loop, action)()
        pipe.send("done")
