"""A pack as a trial of Ray Tune."""

from typing import Any

from ray import tune

from sweeps.worker.pack_worker import PackWorker

Row = dict[str, Any]


class PackTrainable(tune.Trainable):
    """A `PackWorker` as Ray Tune drives it."""

    def setup(self, config: Row, **supplies: Any) -> None:
        """Takes the first pack.

        Args:
            config: The Tune trial's configuration, an order of `PackWorker`.
            supplies: What `PackWorker` takes; the arrays of the datasets come from Ray's object store.
        """
        self._worker = PackWorker(supplies.pop("datasets", {}), **supplies)
        self._worker.take(config)

    def reset_config(self, new_config: Row) -> bool:
        """Takes the next pack in the same process: importing torch anew would cost seconds."""
        self._worker.take(new_config)
        return True

    def step(self) -> Row:
        """Trains until the next report is due or every lane has ended."""
        return self._worker.step()
