"""What a sweep loses on workers that live for three minutes each, against the same sweep on one that is left alone.

Both run at the same time, each on one core of its own: a Ray head, a worker node of one core, and the driver. A node
that must go gets a notice as long as Kubernetes gives, 30 seconds before its end, and Ray hears of it by `ray
drain-node`; the next node starts when the last one is gone. What is counted are epochs of trials in Parquet, an epoch
that was trained twice once only, from the driver's start on.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import record, script
from sweeps import results
from sweeps.errors import SweepError

LIFE_SECONDS, NOTICE_SECONDS = 180.0, 30.0
BIN = Path(sys.executable).parent
err = Console(stderr=True, highlight=False)


@dataclass
class Cluster:
    """A Ray cluster and a driver, all pinned to one core.

    Attributes:
        core: The core.
        port: Of the head.
        mark: In the environment of all its processes.
    """

    core: int
    port: int = 0
    mark: dict[str, str] = field(default_factory=lambda: {"PREEMPTION_BENCHMARK": uuid.uuid4().hex})
    nodes: int = 1

    def __post_init__(self) -> None:
        """Starts the head."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._node("--head", "--port", str(self.port), "--include-dashboard", "false", "--num-cpus", "0")

    @property
    def address(self) -> str:
        """Of the head."""
        return f"127.0.0.1:{self.port}"

    def start_worker(self) -> None:
        """Starts a worker node of one core, at an address of its own."""
        self._node("--address", self.address, "--num-cpus", "1")

    def _node(self, *options: str) -> None:
        host = f"127.0.{1 + self.core}.{self.nodes}" if self.nodes > 1 else "127.0.0.1"
        self.nodes += 1
        memory = ["--object-store-memory", str(512 * 2**20), "--disable-usage-stats"]
        self.run(str(BIN / "ray"), "start", *options, "--node-ip-address", host, *memory)

    def run(self, *command: str) -> str:
        """Runs a command on the core to its end.

        Raises:
            typer.Exit: If it fails.
        """
        done = subprocess.run(self._pinned(command), env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode:
            err.print(f"{' '.join(command[:3])}: exit code {done.returncode}: {done.stderr[-2000:]}", markup=False)
            raise typer.Exit(1)
        return done.stdout

    def begin(self, *command: str) -> "subprocess.Popen[bytes]":
        """Starts a command on the core."""
        nowhere = subprocess.DEVNULL
        return subprocess.Popen(self._pinned(command), env=self._environment, stdout=nowhere, stderr=nowhere)

    def raylet(self) -> tuple[int, str] | None:
        """The worker node's process and Ray's name of the node, while it lives."""
        for process, command in self._processes():
            words = command.decode(errors="replace").split("\0")
            names = [word.removeprefix("--node_id=") for word in words if word.startswith("--node_id=")]
            if names and "--head" not in words:
                return process, names[0]
        return None

    def drain(self, node: str, seconds: float) -> None:
        """Tells Ray that a node goes in so many seconds."""
        reason = ("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "benchmark")
        deadline = ("--deadline-remaining-seconds", f"{seconds:.0f}")
        self.run(str(BIN / "ray"), "drain-node", "--address", self.address, "--node-id", node, *reason, *deadline)

    def end(self) -> None:
        """Kills everything."""
        for process, _ in self._processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    @property
    def _environment(self) -> dict[str, str]:
        return (
            os.environ | {"CUDA_VISIBLE_DEVICES": "", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64} | self.mark
        )

    def _pinned(self, command: tuple[str, ...]) -> list[str]:
        return ["taskset", "--cpu-list", str(self.core), *command]

    def _processes(self) -> list[tuple[int, bytes]]:
        (wanted,) = (f"{name}={value}".encode() for name, value in self.mark.items())
        found = list[tuple[int, bytes]]()
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdecimal() and wanted in (folder / "environ").read_bytes():
                    found.append((int(folder.name), (folder / "cmdline").read_bytes()))
            except OSError:
                continue
        return found


class Side:
    """One sweep and its worker nodes, one after the other.

    Args:
        core: Where all of it runs.
        root: Of the sweep.
        words: Of `sweeps run`.
        life_seconds: How long a worker node lives; None lets the first one live on.
        notice_seconds: How long before its end Ray hears of it.
    """

    def __init__(
        self, core: int, root: Path, words: list[str], *, life_seconds: float | None, notice_seconds: float
    ) -> None:
        self.root, self.ended_nodes = root, 0
        self._life_seconds, self._notice_seconds = life_seconds, notice_seconds
        self._cluster = Cluster(core)
        self._start_node()
        sweeps = str(BIN / "sweeps")
        self._driver = self._cluster.begin(
            sweeps, "run", *words, "--address", self._cluster.address, "--root", str(root)
        )

    def _start_node(self) -> None:
        self._cluster.start_worker()
        self._born, self._told = time.monotonic(), False

    def step(self) -> None:
        """Gives a notice, ends a node or starts the next one, when it is time.

        Raises:
            typer.Exit: If the driver has ended.
        """
        if self._driver.poll() is not None:
            err.print(f"the sweep in {self.root} has ended: it must last longer than the benchmark")
            raise typer.Exit(1)
        if self._life_seconds is None:
            return
        age, raylet = time.monotonic() - self._born, self._cluster.raylet()
        if raylet and not self._told and age >= self._life_seconds - self._notice_seconds:
            self._told = True
            self._cluster.drain(raylet[1], self._notice_seconds)
        elif raylet and age >= self._life_seconds:
            os.kill(raylet[0], signal.SIGKILL)
        elif not raylet:
            self.ended_nodes += 1
            self._start_node()

    def lane_epochs(self) -> int:
        """Epochs of trials so far; one that was trained twice counts once."""
        with suppress(SweepError):
            rows = results.load_epochs(self.root, "timed", latest_attempt=False).select(["trial", "epoch"]).to_pylist()
            return len({(row["trial"], row["epoch"]) for row in rows})
        return 0

    def end(self) -> None:
        """Kills everything."""
        self._cluster.end()
        self._driver.wait()


def race(
    words: list[str], cores: list[int], *, seconds: float, life_seconds: float, notice_seconds: float
) -> list[int]:
    """Lane-epochs after so many seconds, on workers that come and go and on one that stays; how many came."""
    with tempfile.TemporaryDirectory(prefix="preemption-", ignore_cleanup_errors=True) as folder:
        sides = list[Side]()
        try:
            for core, life in zip(cores, (life_seconds, None), strict=True):
                root = Path(folder) / str(core)
                sides.append(Side(core, root, words, life_seconds=life, notice_seconds=notice_seconds))
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                for side in sides:
                    side.step()
                time.sleep(0.5)
            found = [side.lane_epochs() for side in sides]
            err.print(f"{found[0]} lane-epochs on {sides[0].ended_nodes + 1} workers, {found[1]} on one")
            return [*found, sides[0].ended_nodes + 1]
        finally:
            for side in sides:
                side.end()


def main(
    json: Annotated[Path | None, typer.Option(help="Write the record here.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Digits instead of MNIST, short lives, once.")] = False,
    repeats: Annotated[int | None, typer.Option(help="Repetitions [3].", min=1)] = None,
    lives: Annotated[
        int | None, typer.Option(help="Workers, one after the other, that a repetition lasts [3].")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of datasets [env SUPERMASK_DATA].")] = None,
) -> None:
    """Prints the epochs per hour of a sweep on preempted workers against one that is left alone."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        raise typer.BadParameter("it takes two cores, one for each side, but there is one.")
    life, notice = (45.0, 15.0) if quick else (LIFE_SECONDS, NOTICE_SECONDS)
    seconds = life * (lives or (2 if quick else 3))
    words = ["fcn_digits" if quick else "fcn_mnist", "--name", "timed", "--trials", "1000", "--lanes", "8"]
    words += ["--set", "fixed.epochs=50", "--set", "sampler={name: random, seed: 1}", "--set", "constraints=[]"]
    words += ["--data", str(data.resolve())] if data else []
    preempted, alone, workers = list[float](), list[float](), 0
    for repeat in range(repeats or (1 if quick else 3)):
        order = cores if repeat % 2 == 0 else cores[::-1]
        ours, peer, workers = race(words, order, seconds=seconds, life_seconds=life, notice_seconds=notice)
        preempted.append(3600 * ours / seconds)
        alone.append(3600 * peer / seconds)
    case = f"epochs of trials per hour, on workers that live {life:.0f} s each, against one that is left alone"
    rows = [record.compare(case, preempted, peer=alone, unit="1/h", notice_seconds=notice, workers=workers)]
    if json:
        record.write(json, rows)
    Console().print(record.table(rows))


if __name__ == "__main__":
    script.start(main)
