"""The connection to Ray: a cluster by its address, or this machine."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import ray

from supermask.data import Dataset
from sweeps.errors import SweepError
from sweeps.interrupts import deferred
from sweeps.plan import Resources


@contextmanager
def connect(address: str | None, datasets: dict[str, Dataset]) -> Iterator[Resources]:
    """Connects to a cluster, or starts Ray on this machine; disconnects at the end.

    Raises:
        SweepError: If Ray cannot be reached.
    """
    # Tune would write every nested result to JSON, CSV and TensorBoard, and swallow the first SIGINT.
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    local: dict[str, Any] = {}
    if address is None:
        images = sum(dataset.train_images.nbytes + dataset.test_images.nbytes for dataset in datasets.values())
        local = {"include_dashboard": False, "object_store_memory": 2 * images + 256 * 2**20}
    try:
        with deferred():  # Ray's start crashes the process when a signal comes in the middle of it
            ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **local)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise SweepError(
            f"ray {address or 'on this machine'}: must be reachable, but {str(error).splitlines()[0]}. "
            "Check the address with: ray status --address ADDRESS.",
            exit_code=1,
        ) from error
    # A lost pack is reported with its reason by us; Tune would print the worker's whole traceback as well.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    try:
        found = ray.cluster_resources()
        # Ray prints what happens to its workers to stdout, where results go: JSON would not be JSON any more.
        with redirect_stdout(sys.stderr):
            yield Resources(cpus=int(found.get("CPU", 1)), gpus=found.get("GPU", 0.0))
    finally:
        ray.shutdown()
