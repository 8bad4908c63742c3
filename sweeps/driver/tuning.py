"""Ray Tune, which runs packs until the searcher has no more."""

import logging
import tempfile
from typing import Any

from ray import tune
from ray.exceptions import RayError

from sweeps.driver.plan import PackPlan
from sweeps.driver.searcher import PackSearcher
from sweeps.worker.trainable import PackTrainable

_LOG = logging.getLogger(__name__)

MOST_PACKS = 10_000
"""Bound of packs at a time for Tune, which wants one; the searcher knows how many there is room for."""


def fit(searcher: PackSearcher, plan: PackPlan, supplies: dict[str, Any]) -> bool:
    """Lets Tune work through the queue; False when it broke off and must be started again.

    Tune itself dies of some losses that it should survive, e.g. of workers that Ray's memory monitor killed.
    """
    trainable = tune.with_resources(
        tune.with_parameters(PackTrainable, **supplies), {"cpu": plan.cpus, "gpu": plan.gpus}
    )
    # Tune may still copy into it when Ctrl-C has left `fit`; a folder that stays must not hide that.
    with tempfile.TemporaryDirectory(prefix="sweeps-tune-", ignore_cleanup_errors=True) as scratch:
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=-1,
                max_concurrent_trials=MOST_PACKS,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=scratch,
                verbose=0,
                progress_reporter=tune.CLIReporter(),  # the one for notebooks begins with clearing the cell
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        try:
            tuner.fit()
        except (RuntimeError, RayError) as error:
            _LOG.warning("Ray Tune broke off and is started again: %s", str(error).splitlines()[0])
            return False
    return True
