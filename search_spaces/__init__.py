"""What may vary: search spaces as YAML files, read into Optuna's distributions.

Words, one meaning each:

* **field**: a name of the training configuration, e.g. `learning_rate`; `supermask.config` lists them all.
* **fixed**: a field with one value for all trials. A field neither fixed nor searched keeps the trainer's default.
* **parameter**: a searched field; a range (`low`, `high`, optionally `log` or `step`) or a list of `choices`.
* **condition**: `when: {mask_rule: target}` lets a parameter exist only in trials where that holds;
  elsewhere it is absent, and the trainer's default holds.
* **objective**: a metric and the direction in which it is better.
* **constraint**: a bound on a metric that a trial must keep to be wanted, e.g. `val_accuracy >= 0.9`.
* **budget**: how many trials; how many epochs each has at most is the field `epochs`.
* **override**: a dotted path and a value put in place of the file's, e.g. `search.learning_rate.high` and 0.5.
* **fault**: one thing wrong with a file; all faults of a file are reported together.

The path of data: `document` reads a file into plain values, `overrides` changes them, `schema`,
`parameters` and `conditions` check them, and `load` does all that and gives a `space.SearchSpace`.

Non-goals: including one file from another, expressions, and defaults of the training configuration.
"""
