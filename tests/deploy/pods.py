"""Pods without Kubernetes: each with processes, ports, /dev/shm and an address of its own, joined by one wire."""

import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

PATIENCE_SECONDS = 400
ADDRESSES = ("10.0.0.1", "10.0.0.2")
NAMESPACES = ("--net", "--pid", "--mount")
_SET_UP = """
mount -t tmpfs tmpfs "$RAY_TMPDIR" && mount -t tmpfs tmpfs /dev/shm && read -r || exit
until "$@"; do echo "the container starts again"; done
"""
"""A container that ends is started again, as in Kubernetes: a head ends where Ray's start takes too long."""
_UNSHARE = ("setpriv", "--pdeathsig", "KILL", "unshare", "--fork", "--kill-child", "--mount-proc", *NAMESPACES)


def skip_without_namespaces() -> None:
    """Skips a test where this process may not make pods."""
    for tool in ("setpriv", "unshare", "nsenter", "ip", "mount", "pgrep", "openssl"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool}: apt-get install util-linux mount iproute2 procps openssl")
    link = "mount -t tmpfs tmpfs /mnt && ip link add one type veth peer name two"
    done = subprocess.run(
        ["unshare", *NAMESPACES, "--fork", "sh", "-c", link], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no namespaces, which take root's rights: {done.stderr.strip()}")


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Waits until a condition holds.

    Args:
        condition: True for done.
        what: Is said of a condition that never held.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.1)


class Pod:
    """Namespaces on this machine. The first process is the container's command; all others end with it."""

    def __init__(self, folder: Path, checkout: Path, environment: Mapping[str, str], command: Sequence[str]) -> None:
        """Makes the namespaces. The command waits for `go`.

        Args:
            folder: What the pod writes. Its name is short, as Ray puts sockets there.
            checkout: The working directory, with an environment in .venv.
            environment: Of all processes in the pod.
            command: The container's command.
        """
        (folder / "ray").mkdir(parents=True)
        self._checkout = checkout
        self._environment = dict(environment) | {
            "HOME": str(folder), "TMPDIR": str(folder), "RAY_TMPDIR": str(folder / "ray"), "LC_ALL": "C.UTF-8",
            "PATH": f"{checkout}/.venv/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "CUDA_VISIBLE_DEVICES": "",
        }  # fmt: skip
        self._log = folder / "pod.log"
        with self._log.open("wb") as log:
            self._outside = subprocess.Popen(
                [*_UNSHARE, "bash", "-c", _SET_UP, "pod", *command],
                cwd=checkout,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        children = Path(f"/proc/{self._outside.pid}/task/{self._outside.pid}/children")
        wait_for(children.read_text, "unshare makes no process")
        self.process = int(children.read_text())
        wait_for(lambda: self._namespace() != Path("/proc/self/ns/pid").readlink(), "unshare makes no namespaces")

    def _namespace(self) -> Path:
        return Path(f"/proc/{self.process}/ns/pid").readlink()

    def _inside(self, command: Sequence[str]) -> list[str]:
        return ["nsenter", f"--target={self.process}", *NAMESPACES, f"--wd={self._checkout}", "--", *command]

    def go(self) -> None:
        """Lets the container's command run, if it does not yet."""
        assert self._outside.stdin is not None
        if not self._outside.stdin.closed:
            self._outside.stdin.write(b"\n")
            self._outside.stdin.close()

    @property
    def log(self) -> str:
        """What the container's command has written."""
        return self._log.read_text()

    def start(self, command: Sequence[str]) -> "subprocess.Popen[str]":
        """Starts one more process in the pod, as `kubectl exec` and hooks do."""
        pipe = subprocess.PIPE
        return subprocess.Popen(self._inside(command), env=self._environment, stdout=pipe, stderr=pipe, text=True)

    def run(self, command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        """Runs one more process in the pod to its end."""
        return subprocess.run(
            self._inside(command),
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def end(self) -> None:
        """Kills all that runs in the pod."""
        self._outside.kill()  # its child, the first process of the namespace, is killed with it, and all with that one
        self._outside.wait()
        left = Path(f"/proc/{self.process}/cmdline")
        wait_for(lambda: not left.exists() or not left.read_bytes(), "a pod does not end")


def join(pods: Sequence[Pod]) -> None:
    """Lays a wire between two pods, and gives them their addresses."""
    one, two = (str(pod.process) for pod in pods)
    wire = ["ip", "link", "add", "name", "eth0", "netns", one, "type", "veth", "peer", "name", "eth0", "netns", two]
    subprocess.run(wire, check=True)
    for pod, address in zip(pods, ADDRESSES, strict=True):
        script = f"ip link set lo up && ip address add {address}/24 dev eth0 && ip link set eth0 up"
        script += " && ip route add default dev eth0"  # Ray takes the address of the way out
        subprocess.run(["nsenter", f"--target={pod.process}", "--net", "--", "sh", "-c", script], check=True)
