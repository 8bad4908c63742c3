"""A long load on one driver: its memory grows by what Optuna keeps of each trial, and by nothing else."""

import json
import subprocess
import sys

import pytest

from tests.faults.soak import HOUR, SOAK
from tests.sweeps.machine import REPOSITORY

TRIALS = 250_000
BYTES_A_TRIAL = 8 * 1024
"""The bound. A driver of 100,000 trials of 60 epochs was seen to take 4.8 KB for each."""

LOAD = """
import json, sys
from dataclasses import replace
from benchmarks import driver, record
from search_spaces.load import load
space = load(record.REPOSITORY / "search_spaces" / "fcn_mnist.yaml")
space = replace(space, sampler=replace(space.sampler, name="random", seed=1), trials=10**6)
print(json.dumps(driver.large(space, int(sys.argv[1]))))
"""


@pytest.mark.skipif(not SOAK, reason="takes many minutes: make soak")
@pytest.mark.timeout(2 * HOUR)
def test_the_memory_of_a_driver_under_a_long_load_stays_within_its_bound() -> None:
    command = [sys.executable, "-c", LOAD, str(TRIALS)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["mib_rest"] * 2**20 < BYTES_A_TRIAL * TRIALS * 0.9, found
