"""Runs sweeps of signed supermask networks, keeps what they found and shows it.

Words, one meaning each:

- trial: one sampled configuration and its result, numbered by the sweep's study.
- lane: one trial's place in a pack.
- pack: trials that share every tensor shape and are trained together as one fused program; one trial of Ray Tune.
- sweep: a durable, named study and its results. Any number of sessions may work through it: to run, to resume and to
  extend are the same act. In Python: the object `Sweep`.
- preempt: to tell a pack to write checkpoints at the end of its epoch and free its worker; its lanes wait for another.
- study: the durable record of what was asked for and what came back. It is the truth.
- session: one process, the driver, at work on a sweep while it holds the lease.
- mirror: a copy for browsing, kept in MLflow. It reads the Parquet parts, may fail, and is filled again from the first.
- front: the finished trials that no other finished trial beats in every objective.
- confirmation: a trial trained again with a fresh seed, to be judged on the test set. A lane, too, while it trains.

The path of data, room by room; a room imports only rooms below it, see the contracts in pyproject.toml:

- `__main__` and `commands` read the command line, `sweep` is the same in Python: `Sweep` runs, confirms and reports.
- `run` opens a session, `confirm` trains chosen trials again; `export` hands out networks, `verify` compares the
  stores, `doctor` checks the environment.
- `search` keeps the study and samples from it, `driver` makes packs of trials and hands them to Ray Tune or trains them
  in this process, `worker` trains a pack and reports every epoch; `tracking` mirrors to MLflow.
- `store` keeps the files of a sweep, `remote` sends them to an object store. `results` and `confirmations` are its
  tables, `stored` is a sweep as these files hold it.
- `objectives` decides which of two trials is better, `pareto` finds the front, by which `analysis` judges; `figures`,
  `display` and `report` show it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeps.sweep import Sweep

__all__ = ["Sweep"]


def __getattr__(name: str) -> Any:
    """Imports `Sweep` when it is first asked for: most modules of this package do without."""
    if name == "Sweep":
        from sweeps.sweep import Sweep

        return Sweep
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
