"""Runs sweeps of signed supermask networks, keeps what they found and shows it.

Words, one meaning each:

- trial: one sampled configuration and its result, numbered by the sweep's study.
- lane: one trial's place in a pack.
- pack: trials that share every tensor shape and are trained together as one fused program; one task for Ray.
- sweep: a durable, named study and its results. Any number of sessions may work through it: to run, to resume and to
  extend are the same act.
- preempt: to tell a pack to write checkpoints at the end of its epoch and free its worker; its lanes wait for another.
- study: the durable record of what was asked for and what came back. It is the truth.
- mirror: a copy for browsing, kept in MLflow. It may fail, and is rebuilt from the study and the results.
- front: the finished trials that no other finished trial beats in every objective.
- confirmation: a trial trained again with a fresh seed, to be judged on the test set. A lane, too, while it trains.

The path of data; a folder in brackets holds what a step is made of:

- `__main__` reads the command line [`commands`], and `run` opens a session: `plan` says in which packs the space is
  trained, `cluster` connects to Ray; `cluster_share` says how much of it the sweep may use, by the rules of `sharing`.
- `study` asks for trials by `sampling`, with what a `warm_start` knows, and `ahead` of time. `queue` makes packs of
  them, `searcher` hands these to Ray Tune, which `tuning` lets run.
- `trainable` is a pack as Tune calls it, `trial` trains it in a worker [`packs`], and `rungs` stops lanes early.
- `session` books what comes back [`sessions`], `results` keeps it [`storage`, also of the study], `tracking` mirrors it
  [`mirroring`].
- `pareto` finds the front, by which all else is judged [`analysis`]. `confirm` trains chosen trials again, with fresh
  `seeds` on a `fleet`; `confirmations` keeps what they reach.
- `report` writes it all down [`reports`, `figures`], terminals show it [`display`]. `export` hands out networks, also
  as an `onnx_model`, and `trial_table` the trials.

Beside the path: `environment` reads times that are set there, `doctor` looks whether a sweep could run, `verify`
whether all stores say the same of it, and `training` trains one configuration without a sweep.
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
