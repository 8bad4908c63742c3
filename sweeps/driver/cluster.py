"""The connection to Ray: a cluster by its address, or this machine."""

import logging
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from platform import python_version
from typing import Any

import ray
from ray._private import ray_constants
from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
from ray._private.worker import global_worker
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from supermask.data import Dataset
from sweeps.driver.plan import Resources, local_resources
from sweeps.errors import SweepError
from sweeps.signals import deferred

PACKAGES = ("supermask", "search_spaces", "sweeps")
"""What a worker needs of this project; everything else must be installed on its node."""
TOKEN_FILE = Path("~/.ray/auth_token")
"""Where Ray looks for a cluster's token unless it stands in RAY_AUTH_TOKEN."""
KNOCK_SECONDS = 10.0
"""How long a head may take to accept a connection."""
NAMESPACE = "sweeps"
"""Where Ray lists the actors of all sweeps on a cluster."""
PATIENCE_SECONDS = 60.0
"""How long a node may take to start a process that answers."""


@dataclass(frozen=True)
class Node:
    """A machine of a cluster, as a process on it sees it.

    Attributes:
        host: Its address.
        versions: Of packages by name, those that it has.
        asks_token: Whether its Ray asks whoever comes for the cluster's token.
        skew_seconds: At least how far its clock is ahead of this process's; negative where it is behind.
    """

    host: str
    versions: dict[str, str]
    asks_token: bool
    skew_seconds: float


def resources_of(found: Mapping[str, float]) -> Resources:
    """Cores and GPUs of what Ray lists by name."""
    return Resources(cpus=int(found.get("CPU", 0)), gpus=found.get("GPU", 0.0))


@contextmanager
def connect(address: str | None, datasets: Mapping[str, Dataset]) -> Iterator[Resources]:
    """Connects to a cluster, or starts Ray on this machine; disconnects at the end.

    A cluster's workers run this process's own code, wherever it comes from and whatever is installed there.

    Raises:
        SweepError: If Ray cannot be reached.
    """
    # Tune would write every nested result to JSON, CSV and TensorBoard, and swallow the first SIGINT.
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    # Nor would any session read the state that it writes again and again, which ends it where /tmp is full.
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "inf")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    images = sum(dataset.train_images.nbytes + dataset.test_images.nbytes for dataset in datasets.values())
    here = {"address": "local", "include_dashboard": False, "object_store_memory": 2 * images + 256 * 2**20}
    here["num_gpus"] = int(local_resources().gpus)  # those that PyTorch can use
    # Ray listens on every interface of a machine, unless it takes it for one that no cluster can reach.
    ray_constants.ENABLE_RAY_CLUSTER = address is not None
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)  # it warns of being safe
    if address:  # Ray's nodes take a token where they find one; its drivers do only for the address `auto`
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    try:
        # Ray's start crashes the process when a signal comes in the middle of it.
        with deferred(), _code() as code:
            _knock(address)
            there = {"address": address, "runtime_env": {"working_dir": str(code)}}
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **(there if address else here))
            _keep_token()
    except Exception as error:  # Ray raises plain ones, too, e.g. where a busy machine is slow to start it
        raise SweepError(
            f"ray {address or 'on this machine'}: must be reachable, but {_reason(error)}. "
            "Check the address, and the token (RAY_AUTH_TOKEN or ~/.ray/auth_token): ray status --address ADDRESS.",
            exit_code=1,
        ) from error
    # A lost pack is reported with its reason by us; Tune would print the worker's whole traceback as well.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    try:
        # Ray prints what happens to its workers to stdout, where results go: JSON would not be JSON any more.
        with redirect_stdout(sys.stderr):
            yield resources_of(ray.cluster_resources())
    finally:
        ray.shutdown()


def is_lost() -> bool:
    """Whether the Ray node of this process, or the head of its cluster, has ended: nobody listens there any more."""
    node: Any = global_worker.node
    host, _, port = node.gcs_address.rpartition(":")
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(node.raylet_socket_name)
        socket.create_connection((host, int(port)), timeout=KNOCK_SECONDS).close()
    except OSError:
        return True
    return False


def beside_driver(kind: type, *arguments: Any, name: str | None = None) -> Any:
    """Starts an actor on the driver's node, for packs of all nodes to call. If its process dies, it is made anew.

    Args:
        kind: Its class.
        arguments: What the class takes.
        name: By which other drivers of the cluster find it.

    Returns:
        Its handle.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(kind)
    named = {"name": name, "namespace": NAMESPACE} if name else {}
    return actor.options(scheduling_strategy=here, **named).remote(*arguments)


def _knock(address: str | None) -> None:
    """Finds out at once what Ray would try for minutes: that nobody is at an address.

    Raises:
        OSError: If it cannot be reached.
    """
    host, _, port = (address or "").rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=KNOCK_SECONDS).close()


def _keep_token() -> None:
    """Ray writes a new token so that everybody on this machine can read it, and with it run code as this user."""
    with suppress(OSError):
        if TOKEN_FILE.expanduser().stat().st_mode & 0o077:
            TOKEN_FILE.expanduser().chmod(0o600)


@contextmanager
def _code() -> Iterator[Path]:
    """A folder of this process's packages alone, for Ray to upload: once for each content, to every node that works.

    Not Ray's `py_modules`: it would put the driver's current folder before them, and on a node that folder may hold
    other code.
    """
    with tempfile.TemporaryDirectory(prefix="sweeps-code-") as folder:
        for name in PACKAGES:
            shutil.copytree(
                Path(__file__).parents[2] / name, Path(folder) / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        yield Path(folder)


def survey(packages: Iterable[str]) -> list[Node]:
    """Asks every node of the connected cluster for the versions of packages, its token and its time.

    Raises:
        SweepError: If one cannot start a process with this process's code, or does not answer.
    """
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    probe: Any = ray.remote(num_cpus=0)(_Probe)
    found = []
    try:
        probes = {
            place: probe.options(scheduling_strategy=NodeAffinitySchedulingStrategy(place, soft=False)).remote()
            for place in nodes
        }
        answers = {place: actor.look.remote([*packages]) for place, actor in probes.items()}
        for place, actor in probes.items():
            installed, asks_token = ray.get(answers[place], timeout=PATIENCE_SECONDS)
            asked = time.time()  # its process is up: the answer takes milliseconds
            there: float = ray.get(actor.now.remote(), timeout=PATIENCE_SECONDS)
            skew = max(0.0, there - time.time()) + min(0.0, there - asked)
            found.append(Node(nodes[place], installed, asks_token, skew))
    except RayError as error:
        raise SweepError(
            f"ray nodes {', '.join(nodes.values())}: must start a process with this project's code, but "
            f"{_reason(error)}. Read the logs of the node: ray logs --node-ip ADDRESS.",
            exit_code=1,
        ) from error
    return found


class _Probe:
    """Answers on a node."""

    def look(self, packages: list[str]) -> tuple[dict[str, str], bool]:
        return versions(packages), os.environ.get("RAY_AUTH_MODE") == "token"

    def now(self) -> float:
        return time.time()


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Of the packages that are installed here, by name; `python` is one."""
    found = {"python": python_version()}
    for name in packages:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")[:300] or type(error).__name__
