"""The command line, with workers at which something is wrong: run as a program, in place of `python -m sweeps`.

The class below is no part of an importable module, so Ray sends it to the workers as it is here.
"""

import threading
from typing import Any
from unittest import mock

from sweeps import __main__
from sweeps.driver import ray_executor
from sweeps.worker.ray_worker import PackTrainable

HANGING, RAISING, GREEDY = 3, 6, 9
"""Trials with a fault of their own."""


class FaultyTrainable(PackTrainable):
    """Lanes that hang, that raise, and that fit into no memory beside others."""

    def setup(self, config: dict[str, Any], *arguments: Any, **supplies: Any) -> None:
        """Breaks this process, then goes on as usual."""
        import torch

        from supermask.pack import Pack

        train = Pack.train_steps

        def train_or_not(pack: Pack) -> Any:
            trials = {pack.configs[lane].seed % 1_000_000 for lane in pack.lanes}
            if HANGING in trials:
                threading.Event().wait()
            if RAISING in trials:
                raise ArithmeticError("a lane that raises")
            if GREEDY in trials and len(trials) > 1:
                torch.empty(2**50, dtype=torch.int8)  # the allocator's own error
            return train(pack)

        mock.patch.object(Pack, "train_steps", train_or_not).start()
        super().setup(config, *arguments, **supplies)


if __name__ == "__main__":
    ray_executor.PackTrainable = FaultyTrainable
    __main__.main()
