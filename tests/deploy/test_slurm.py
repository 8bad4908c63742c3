"""The batch script of Slurm, with stand-ins for `srun` and `scontrol` that start real Ray nodes on this machine."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sweeps import results
from sweeps.paths import SweepPaths
from tests.processes import kill, marked

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 200
SRUN = """#!/usr/bin/env bash
echo "$@" >>"$STUB_LOG"
tasks=1
while [[ $1 == --* ]]; do
    [[ $1 != --ntasks=* ]] || tasks=${1#*=}
    shift
done
for ((i = 0; i < tasks; i++)); do "$@" & done
trap 'kill $(jobs -p)' TERM
wait
wait
"""
SCONTROL = """#!/usr/bin/env bash
case "$1 $2" in
"show hostnames") printf '%s\\n' 127.0.0.1 localhost ;;
*) echo "scontrol $*" >>"$STUB_LOG" ;;
esac
"""


class Slurm:
    """Runs jobs as Slurm would: a copy of the script, the words after it, an environment."""

    def __init__(self, folder: Path) -> None:
        self.log, self.root = folder / "log", folder / "root"
        bin_folder = folder / "bin"
        bin_folder.mkdir()
        for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
            (bin_folder / name).write_text(text)
            (bin_folder / name).chmod(0o755)
        self._script = shutil.copy(REPOSITORY / "deploy/sweep.slurm", folder / "slurm_script")
        self.job = _free_port() - 20000
        self.mark = {"SWEEPS_TEST_SLURM": uuid.uuid4().hex}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SLURM_"))}
        self._environment = kept | self.mark | {
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "PYTHONPATH": str(REPOSITORY),
            "CUDA_VISIBLE_DEVICES": "",
            "STUB_LOG": str(self.log),
            "SWEEPS_ROOT": str(self.root),
            "SLURM_SUBMIT_DIR": str(REPOSITORY),
            "SLURM_JOB_ID": str(self.job),
            "SLURM_JOB_NODELIST": "node[1-2]",
            "SLURM_CPUS_PER_TASK": "1",
        }  # fmt: skip

    def begin(self, *words: str) -> "subprocess.Popen[str]":
        command = ["bash", self._script, *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self._environment, stdout=pipe, stderr=pipe, text=True)

    def state(self, name: str) -> str:
        with suppress(FileNotFoundError):
            return json.loads(SweepPaths(self.root, name).session.read_text())["state"]
        return "none"


def _free_port() -> int:
    for port in range(20000, 30000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    pytest.fail("no free port")


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Slurm]:
    made = Slurm(tmp_path)
    yield made
    kill(marked(made.mark))
    shutil.rmtree(f"/tmp/ray-{made.job}", ignore_errors=True)  # noqa: S108 - where the script puts it


@pytest.mark.ray
def test_a_job_at_the_end_of_its_time_is_queued_again_and_goes_on(slurm: Slurm) -> None:
    words = ["small", "fcn_digits", "--lanes", "1", "--"]
    words += ["--trials", "4", "--set", "fixed.epochs=120", "--set", "fixed.width=0.3"]
    job = slurm.begin(*words)
    until = time.monotonic() + PATIENCE_SECONDS
    epochs = slurm.root / "small/epochs"
    while not list(epochs.glob("*.parquet")) and job.poll() is None and time.monotonic() < until:
        time.sleep(0.1)
    job.send_signal(signal.SIGUSR1)
    _, err = job.communicate(timeout=PATIENCE_SECONDS)
    assert (job.returncode, slurm.state("small")) == (130, "interrupted"), err

    def of_the_log(word: str) -> list[str]:
        return [line for line in slurm.log.read_text().splitlines() if word in line]

    assert of_the_log("scontrol") == [f"scontrol requeue {slurm.job}"]
    assert [line.split()[2] for line in of_the_log("ray start")] == ["--nodelist=127.0.0.1", "--exclude=127.0.0.1"]
    assert "token" not in slurm.log.read_text().lower()

    job = slurm.begin(*words)
    _, err = job.communicate(timeout=PATIENCE_SECONDS)
    assert job.returncode == 0, err
    rows = results.load(slurm.root, "small").to_pylist()
    assert [(row["trial"], row["state"]) for row in rows] == [(trial, "finished") for trial in range(4)]
    assert of_the_log("scontrol") == [f"scontrol requeue {slurm.job}"]


@pytest.mark.parametrize("words", [[], ["only-a-name"]])
def test_a_job_without_a_space_says_what_to_write(slurm: Slurm, words: list[str]) -> None:
    job = slurm.begin(*words)
    _, err = job.communicate(timeout=PATIENCE_SECONDS)
    assert job.returncode == 2
    assert err == "usage: sbatch deploy/sweep.slurm NAME SPACE [OPTION...] [-- OPTION of 'sweeps run' alone...]\n"
    assert not slurm.log.exists()
