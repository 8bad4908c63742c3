"""A real Slurm of three nodes on this machine, in namespaces of its own: no systemd, no accounting, loopback alone."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from sweeps.store.paths import SweepPaths
from tests.processes import kill

PATIENCE_SECONDS = 400
"""How long anything may take on a loaded machine. Tests wait for conditions, and for no time."""
PACKAGES = "apt-get install slurm-wlm util-linux iproute2"
TEMPORARY = Path("/tmp")  # noqa: S108 - where the script has Ray's folders
NODES = ("n1", "n2", "n3")
CONFIGURATION = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,bf_interval=1,sched_interval=1
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
SlurmdParameters=config_overrides
GresTypes=gpu
FirstJobId={first_job}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
NodeName=n[1-3] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[17001-17003] CPUs=8 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
"""
# Without a second address, glibc's AI_ADDRCONFIG resolves no name where there is loopback alone.
DAEMONS = """
set -e
mount --bind hosts /etc/hosts
ip link set lo up
ip address add 127.0.0.2/8 dev lo
slurmctld -D &
for node in n1 n2 n3; do slurmd -D -N $node & done
exec sleep infinity
"""


class SlurmCluster:
    """Submits the shipped script from a node's checkout, and says what became of it.

    Attributes:
        root: Of the sweeps.
    """

    def __init__(self, folder: Path, checkout: Path, inside: int) -> None:
        self.root = folder / "root"
        self._folder, self._checkout, self._inside = folder, checkout, inside

    def ask(self, *command: str, root: str | None = None) -> "subprocess.CompletedProcess[str]":
        """Runs a command on a machine of this cluster, in the checkout."""
        enter = ["nsenter", f"--target={self._inside}", "--net", "--mount", "--pid", f"--wd={self._checkout}"]
        return subprocess.run(
            [*enter, *command],
            env={**_environment(self._folder), "SWEEPS_ROOT": str(self.root) if root is None else root},
            capture_output=True,
            text=True,
            check=False,
        )

    def tell(self, *command: str, root: str | None = None) -> str:
        done = self.ask(*command, root=root)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def submit(self, *words: str, nodes: int = 1, options: tuple[str, ...] = (), root: str | None = None) -> str:
        """The number of a job of `deploy/sweep.slurm` with these words."""
        sizes = [f"--nodes={nodes}", "--cpus-per-task=1", "--gpus-per-node=0", f"--output={self._folder}/%j.txt"]
        return self.tell("sbatch", "--parsable", *sizes, *options, "deploy/sweep.slurm", *words, root=root)

    def job(self, job: str) -> dict[str, str]:
        """What Slurm knows of a job, e.g. `JobState` and `Restarts`."""
        words = self.tell("scontrol", "--oneliner", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def log(self, job: str) -> str:
        with suppress(FileNotFoundError):
            return (self._folder / f"{job}.txt").read_text()
        return ""

    def state(self, name: str) -> str:
        """What the last driver of a sweep said of it."""
        with suppress(FileNotFoundError):
            return json.loads(SweepPaths(self.root, name).session.read_text())["state"]
        return "none"

    def wait(self, job: str, what: str, until: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
        """Waits for a condition that a job brings about."""
        limit = time.monotonic() + seconds
        while not until():
            if time.monotonic() > limit:
                pytest.fail(f"waited for: {what}\n{self.job(job)}\n{self.log(job)}")
            time.sleep(0.2)

    def wait_for_state(self, job: str, *states: str) -> None:
        self.wait(job, " or ".join(states), lambda: self.job(job)["JobState"] in states)

    def wait_for_training(self, job: str, name: str) -> None:
        epochs = self.root / name / "epochs"
        self.wait(job, f"epochs of {name}", lambda: bool(list(epochs.glob("*.parquet"))))

    def start_now(self, job: str) -> None:
        """Spares a job that was queued again the two minutes that Slurm makes it wait.

        Not within the second of its end: its node would still refuse it.
        """
        self.wait(job, "the queue", lambda: self.job(job)["JobState"] == "PENDING")
        self.wait(job, "its last step's end", lambda: not any(f"[{job}." in words for words in self._running()))
        later = ["scontrol", "update", f"jobid={job}", "StartTime=now+3"]
        self.wait(job, "a start", lambda: self.ask(*later).returncode == 0)

    def freeze_node(self, node: str) -> list[int]:
        """Stops all that runs on a node: to the others it looks like one without power."""
        running = _processes(self._inside)
        frozen = {pid for pid, (_, words) in running.items() if f"slurmd -D -N {node}" in words}
        steps = (pid for pid, (_, words) in running.items() if words.startswith("slurmstepd"))
        log = self._folder / f"{node}.log"
        frozen |= {pid for pid in steps if _has_open(pid, log)}
        while more := {pid for pid, (parent, _) in running.items() if parent in frozen and pid not in frozen}:
            frozen |= more
        for pid in frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        return sorted(frozen)

    def start_node(self, node: str, frozen: list[int]) -> None:
        """Starts a node anew."""
        kill(frozen)
        self.tell("slurmd", "-N", node)

    def left_behind(self, job: str) -> list[str]:
        """Ray's processes and folders of a job that has ended."""
        folders = [str(path) for path in TEMPORARY.glob(f"ray-{job}*")]
        return folders + [words for words in self._running() if f"/ray-{job}" in words]

    def _running(self) -> list[str]:
        return [words for _, words in _processes(self._inside).values()]


@contextmanager
def slurm_cluster(folder: Path, checkout: Path) -> Iterator[SlurmCluster]:
    """Starts the daemons, and ends whatever runs in their namespaces.

    Skips the test where Slurm is not installed, or namespaces cannot be made.
    """
    missing = [
        word for word in ("slurmctld", "slurmd", "unshare", "nsenter", "setpriv", "ip") if shutil.which(word) is None
    ]
    if missing:
        pytest.skip(f"no {missing[0]}: {PACKAGES}")
    unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no namespaces: run as root")
    (folder / "state").mkdir()
    first_job = 1_000_000 + os.getpid() % 600_000 * 100  # the folders of jobs in /tmp are named after it
    (folder / "slurm.conf").write_text(CONFIGURATION.format(folder=folder, first_job=first_job))
    (folder / "hosts").write_text(f"127.0.0.1 localhost {socket.gethostname()} {' '.join(NODES)}\n")
    with (folder / "daemons.txt").open("w") as said:
        daemons = subprocess.Popen(
            ["setpriv", "--pdeathsig=KILL", *unshare, "bash", "-c", DAEMONS],
            cwd=folder,
            env=_environment(folder),
            stdout=said,
            stderr=said,
        )
    try:
        limit = time.monotonic() + PATIENCE_SECONDS
        while not (inside := [pid for pid, (parent, _) in _processes().items() if parent == daemons.pid]):
            assert time.monotonic() < limit
            time.sleep(0.1)
        cluster = SlurmCluster(folder, checkout, inside[0])
        while cluster.ask("sinfo", "--noheader", "--states=idle", "--format=%D").stdout.strip() != str(len(NODES)):
            assert daemons.poll() is None, (folder / "daemons.txt").read_text()
            assert time.monotonic() < limit, (folder / "daemons.txt").read_text()
            time.sleep(0.2)
        yield cluster
    finally:
        daemons.kill()  # `unshare` takes all of the namespace with it; it ignores SIGTERM
        daemons.wait()
        for path in TEMPORARY.glob(f"ray-{str(first_job)[:-2]}*"):
            shutil.rmtree(path, ignore_errors=True)


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SLURM_", "SWEEPS_"))}
    return {**kept, "SLURM_CONF": f"{folder}/slurm.conf", "CUDA_VISIBLE_DEVICES": "", "VIRTUAL_ENV": ""}


def _processes(inside: int | None = None) -> dict[int, tuple[int, str]]:
    """Parents and command lines of the living processes, those of one PID namespace or all."""
    found: dict[int, tuple[int, str]] = {}
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError, StopIteration):
            if inside is None or _namespace(folder) == _namespace(Path(f"/proc/{inside}")):
                status = (folder / "status").read_text().splitlines()
                parent = int(next(line for line in status if line.startswith("PPid:")).split()[1])
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found[int(folder.name)] = (parent, words)
    return found


def _namespace(process: Path) -> Path:
    return (process / "ns/pid").readlink()


def _has_open(pid: int, file: Path) -> bool:
    with suppress(OSError):
        return any(link.readlink() == file for link in Path(f"/proc/{pid}/fd").iterdir())
    return False
