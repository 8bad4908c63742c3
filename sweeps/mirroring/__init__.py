"""What MLflow shows of a sweep, and how it gets there.

The `mirror` fills it while a sweep runs, through an `outbox` that may wait; `experiment` says what the runs hold,
`mirrored` reads them. Only `sweeps.tracking` and `model_registry` import MLflow.
"""
