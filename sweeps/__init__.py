"""Runs sweeps of signed supermask networks, keeps what they found and shows it.

Words, one meaning each:

- trial: one sampled configuration and its result, numbered by the sweep's study.
- lane: one trial's place in a pack.
- pack: trials that share every tensor shape and are trained together as one fused program; one task for Ray.
- sweep: a durable, named study and its results. Any number of sessions may work through it: to run, to resume and to
  extend are the same act.
- study: the durable record of what was asked for and what came back. It is the truth.
- mirror: a copy for browsing, kept in MLflow. It may fail, and is rebuilt from the study and the results.
- front: the finished trials that no other finished trial beats in every objective.
- confirmation: a trial trained again with a fresh seed, to be judged on the test set. A lane, too, while it trains.
"""
