import subprocess
import sys

from supermask.config import RULES
from sweeps.driver.seeds import fresh_seeds


def test_more_seeds_leave_the_first_as_they_are() -> None:
    assert fresh_seeds(20, ())[:10] == fresh_seeds(10, ())
    assert len(set(fresh_seeds(200, ()))) == 200


def test_seeds_are_legal_and_above_all_that_a_sweep_counts() -> None:
    assert all(RULES["seed"].admits(seed) and seed >= 2**62 for seed in fresh_seeds(200, ()))


def test_the_same_seeds_come_in_another_process() -> None:
    code = "from sweeps.driver.seeds import fresh_seeds; print(fresh_seeds(3, ()))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == str(fresh_seeds(3, ()))


def test_a_seed_of_the_sweep_is_passed_over_and_no_other_changes() -> None:
    first, second, third = fresh_seeds(3, ())
    found = fresh_seeds(3, {second, 7})
    assert (found[0], found[2]) == (first, third)
    assert found[1] not in (first, second, third)
    assert fresh_seeds(2, {second}) == found[:2]
