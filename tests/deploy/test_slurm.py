"""The batch script of Slurm, unmodified, on real Slurm, from an environment as a node has it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps import results
from sweeps.store.paths import SweepPaths
from tests.deploy.slurm_cluster import SlurmCluster, slurm_cluster
from tests.faults.soak import in_soak

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
USAGE = "sweep.slurm: usage: sbatch deploy/sweep.slurm NAME SPACE [OPTION...] [-- OPTION of 'sweeps run' alone...]\n"


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory, node_checkout: Path) -> Iterator[SlurmCluster]:
    with slurm_cluster(tmp_path_factory.mktemp("slurm"), node_checkout) as cluster:
        yield cluster


def words(name: str, trials: int, epochs: int, *options: str) -> list[str]:
    small = ["--set", f"fixed.epochs={epochs}", "--set", "fixed.width=0.3"]
    return [name, "fcn_digits", "--lanes", "1", *options, "--", "--trials", str(trials), *small]


def ended(slurm: SlurmCluster, name: str) -> list[int]:
    """The trials that were trained to their ends, or stopped early."""
    rows = results.load(slurm.root, name).to_pylist()
    return sorted(row["trial"] for row in rows if row["state"] in {"finished", "stopped"})


def sweep_log(slurm: SlurmCluster, name: str) -> str:
    return SweepPaths(slurm.root, name).log.read_text()


def test_a_job_on_two_nodes_ends_with_a_clean_log_and_leaves_nothing_and_its_front_is_confirmed(
    slurm: SlurmCluster,
) -> None:
    job = slurm.submit(*words("two", 4, 4), nodes=2)
    slurm.wait_for_state(job, "COMPLETED", "FAILED")
    log = slurm.log(job)
    assert slurm.job(job)["JobState"] == "COMPLETED", log
    said = [line for line in log.splitlines() if line.startswith("sweep.slurm:")]
    assert said[0] == log.splitlines()[0] == f"sweep.slurm: job {job}: starting Ray on n1 n2"
    assert re.fullmatch(r"sweep\.slurm: Ray runs on 2 of 2 nodes after \d+ s: starting the sweep", said[1])
    assert not re.search(r"(?i)killed|cancelled|no such process|pop_var_context|slurmstepd|srun|traceback|token", log)
    assert ended(slurm, "two") == [0, 1, 2, 3]
    assert slurm.left_behind(job) == []
    confirm = [".venv/bin/sweeps", "confirm", "two", "--select", "knee", "--seeds", "2", "--json"]
    (row,) = json.loads(slurm.tell("srun", "--nodes=1", "--cpus-per-task=1", *confirm))
    assert row["seeds"] == 2


@in_soak
def test_a_job_at_the_end_of_its_time_is_queued_again_and_goes_on_from_its_checkpoint(slurm: SlurmCluster) -> None:
    job = slurm.submit(*words("signalled", 1, 1000))
    slurm.wait_for_training(job, "signalled")
    slurm.tell("scancel", "--signal=USR1", "--batch", job)
    slurm.wait(job, "the queue", lambda: slurm.job(job)["Restarts"] == "1")
    assert slurm.state("signalled") == "interrupted", slurm.log(job)
    assert "sweep.slurm: the sweep has ended in order and goes on when the job runs again" in slurm.log(job)
    assert not re.search(r"(?i)no such process|pop_var_context|traceback", slurm.log(job))
    slurm.start_now(job)
    slurm.wait_for_state(job, "COMPLETED", "FAILED")
    assert slurm.left_behind(job) == []
    assert ended(slurm, "signalled") == [0], slurm.log(job)
    assert re.search(r"pack \d+: trials 0 from epoch \d+ on", sweep_log(slurm, "signalled"))
    assert {row["attempt"] for row in results.load(slurm.root, "signalled").to_pylist()} == {1}


def test_a_signal_while_ray_starts_queues_the_job_again(slurm: SlurmCluster) -> None:
    job = slurm.submit(*words("early", 2, 4))
    slurm.wait(job, "the first word", lambda: "starting Ray" in slurm.log(job))
    slurm.tell("scancel", "--signal=USR1", "--batch", job)
    slurm.wait(job, "the queue", lambda: slurm.job(job)["Restarts"] == "1")
    assert slurm.state("early") == "none"
    slurm.wait(job, "the job's end", lambda: slurm.job(job)["JobState"] == "PENDING")
    slurm.tell("scancel", job)
    assert slurm.left_behind(job) == []


@pytest.mark.parametrize(
    ("given", "options", "root", "message"),
    [
        ([], (), None, USAGE),
        (["only-a-name"], (), None, USAGE),
        (["a", "fcn_digits"], (), "", "sweep.slurm: SWEEPS_ROOT must name the root of all sweeps, e.g. "),
        (["a", "fcn_digits"], ("--time=3",), None, "sweep.slurm: --time must be at least 10 minutes, but 1"),
    ],
    ids=["no words", "no space", "no root", "too short"],
)
def test_a_job_that_cannot_work_says_so_and_starts_nothing(
    slurm: SlurmCluster, given: list[str], options: tuple[str, ...], root: str | None, message: str
) -> None:
    job = slurm.submit(*given, options=options, root=root)
    slurm.wait_for_state(job, "FAILED", "COMPLETED")
    assert slurm.job(job)["ExitCode"] == "2:0"
    assert slurm.job(job)["Restarts"] == "0"
    assert slurm.log(job).startswith(message)
    assert len(slurm.log(job).splitlines()) == 1
    assert slurm.left_behind(job) == []


def test_scancel_ends_a_sweep_that_another_job_goes_on_with(slurm: SlurmCluster) -> None:
    job = slurm.submit(*words("cancelled", 50, 120))
    slurm.wait_for_training(job, "cancelled")
    slurm.tell("scancel", job)
    slurm.wait_for_state(job, "CANCELLED")
    slurm.wait(job, "the end of all that it ran", lambda: slurm.left_behind(job) == [])
    slurm.wait(job, "the driver's last word", lambda: slurm.state("cancelled") == "interrupted")
    assert slurm.job(job)["Restarts"] == "0"


@in_soak
def test_jobs_share_a_root_but_not_a_sweep(slurm: SlurmCluster) -> None:
    first = slurm.submit(*words("first", 50, 120))
    slurm.wait_for_training(first, "first")
    other = slurm.submit(*words("other", 2, 4))
    same = slurm.submit(*words("first", 2, 4))
    slurm.wait_for_state(other, "COMPLETED", "FAILED")
    slurm.wait_for_state(same, "COMPLETED", "FAILED")
    assert ended(slurm, "other") == [0, 1], slurm.log(other)
    assert slurm.job(same)["ExitCode"] == "2:0"
    assert "only one process may work on it" in slurm.log(same)
    assert slurm.job(first)["JobState"] == "RUNNING"
    slurm.tell("scancel", "--signal=TERM", "--batch", first)  # ends in order, and is not queued again
    slurm.wait_for_state(first, "FAILED", "CANCELLED", "COMPLETED")
    assert slurm.job(first)["Restarts"] == "0"
    assert slurm.state("first") == "interrupted", slurm.log(first)
    assert slurm.left_behind(first) == []


def test_a_lost_node_costs_its_packs_and_not_the_job(slurm: SlurmCluster) -> None:
    job = slurm.submit(*words("lost", 3, 120), nodes=2)
    slurm.wait_for_training(job, "lost")
    slurm.tell("scontrol", "update", "nodename=n2", "state=down", "reason=test")
    slurm.wait_for_state(job, "COMPLETED", "FAILED")
    assert slurm.job(job)["JobState"] == "COMPLETED", slurm.log(job)
    assert "Node failure on n2" in slurm.log(job)
    assert slurm.job(job)["Restarts"] == "0"
    assert ended(slurm, "lost") == [0, 1, 2]
    assert len(slurm.left_behind(job)) <= 1  # the folder on n2, where Slurm killed what would have removed it


@in_soak  # Ray's workers miss a head for a minute
def test_a_job_whose_first_node_dies_is_queued_again_by_a_worker(slurm: SlurmCluster) -> None:
    job = slurm.submit(*words("headless", 50, 120), nodes=2)
    slurm.wait_for_training(job, "headless")
    frozen = slurm.freeze_node("n1")
    slurm.wait(job, "the queue", lambda: slurm.job(job)["Restarts"] == "1")
    slurm.start_node("n1", frozen)
    slurm.start_now(job)
    slurm.wait(job, "another session", lambda: slurm.log(job).count("starting the sweep") == 2)
    slurm.tell("scancel", job)
    slurm.wait_for_state(job, "CANCELLED")


@in_soak  # a limit of 10 minutes
@pytest.mark.timeout(3600)
def test_slurm_itself_sends_the_signal_before_the_limit(slurm: SlurmCluster) -> None:
    job = slurm.submit(*words("limited", 500, 120), options=("--time=10",))
    slurm.wait_for_training(job, "limited")
    # Slurm sends the signal up to a minute early, 6 to 7 minutes after the start.
    slurm.wait(job, "the queue", lambda: slurm.job(job)["Restarts"] == "1", seconds=900)
    assert slurm.state("limited") == "interrupted"
    slurm.tell("scancel", job)
