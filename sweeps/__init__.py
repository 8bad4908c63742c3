"""Runs sweeps of signed supermask networks, keeps what they found and shows it.

Words, one meaning each:

- trial: one sampled configuration and its result, numbered by the sweep's study.
- lane: one trial's place in a pack.
- pack: trials that share every tensor shape and are trained together as one fused program; one trial of Ray Tune.
- sweep: a durable, named study and its results. Any number of sessions may work through it: to run, to resume and to
  extend are the same act.
- preempt: to tell a pack to write checkpoints at the end of its epoch and free its worker; its lanes wait for another.
- study: the durable record of what was asked for and what came back. It is the truth.
- session: one process, the driver, at work on a sweep while it holds the lease.
- mirror: a copy for browsing, kept in MLflow. It reads the Parquet parts, may fail, and is filled again from the first.
- front: the finished trials that no other finished trial beats in every objective.
- confirmation: a trial trained again with a fresh seed, to be judged on the test set. A lane, too, while it trains.

The path of data, room by room:

- `commands` reads the command line; `sweep` is the same for Python. `run` opens a session, `confirm` trains chosen
  trials again.
- `search` says what to try next and when to stop.
- `driver` makes packs of the trials and hands them to an executor: Ray Tune, or this process.
- `worker` trains a pack and reports every epoch.
- `store` keeps the results, `results` and `confirmations` read them; `remote` copies a root to an object store.
- `tracking` mirrors them in MLflow.
- `pareto` finds the front; `analysis`, `figures`, `display` and `report` say what it means. `export` hands out
  networks.

Beside the path: `objectives` says which of two trials is better, `signals` defers Ctrl-C, `doctor` looks whether a
sweep could run, `verify` whether all stores say the same of it.
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
