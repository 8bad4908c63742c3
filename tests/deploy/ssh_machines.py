"""Machines of a test: namespaces with an SSH server, on a network of their own."""

import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

PROGRAMS = (
    "unshare",
    "nsenter",
    "ip",
    "ssh",
    "ssh-keygen",
    "/usr/sbin/sshd",
    "rsync",
    "sudo",
    "tmux",
    "git",
    "runuser",
)
NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid")
PROBE = """
    ip link add eth type veth peer name other
    ip link add lan type bridge
    mount -t tmpfs tmpfs /mnt
    mkdir /mnt/changes /mnt/work /mnt/root
    mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/changes,workdir=/mnt/work /mnt/root
"""


def skip_without_machines(*programs: str) -> None:
    """Skips with the reason where such machines cannot be made, or these programs are not installed."""
    missing = [program for program in (*PROGRAMS, *programs) if not shutil.which(program)]
    if missing:
        pytest.skip(f"no machines to be reached by SSH: not installed here: {', '.join(missing)}")
    done = subprocess.run(["unshare", *NAMESPACES, "--fork", "sh", "-ec", PROBE], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no machines to be reached by SSH: needs root and all namespaces: {done.stderr.decode().strip()}")


class SshMachine:
    """A machine with the user `ubuntu`, who may use `sudo`. It is not up before `wait_until_up` returns.

    Args:
        name: Its host name.
        folder: An empty one, seen as its root on the machine alone.
        keys: The folder of the key that opens it.
        checkout: What `deploy/node.sh` has set up: the machine's own checkout has the same packages.
    """

    def __init__(self, name: str, folder: Path, keys: Path, checkout: Path) -> None:
        script = [Path(__file__).with_name("machine.sh"), name, folder, keys, checkout, sys.base_prefix]
        # It ends with the tests, and its first process ends with it, and all others with that one.
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", *NAMESPACES, "--fork", "--kill-child", *script]
        self.name = name
        self._log = folder.with_suffix(".log")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    @property
    def pid(self) -> int:
        """Its first process, as seen from outside."""
        return int(Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text())

    def wait_until_up(self) -> None:
        """Waits for its SSH server."""
        end = time.monotonic() + 300
        while "Server listening" not in self._log.read_text():
            assert self._process.poll() is None, f"{self.name} has ended: {self._log.read_text()}"
            assert time.monotonic() < end, f"{self.name} does not start: {self._log.read_text()}"
            time.sleep(0.1)

    def as_root(self, line: str) -> str:
        """What a line of shell commands prints that root runs; it must succeed."""
        return self._run("sh", "-ec", line)

    def run(self, line: str, given: bytes = b"") -> str:
        """What a line of shell commands prints that `ubuntu` runs in a login shell with this input; it must succeed."""
        return self._run("runuser", "--login", "ubuntu", "--command", line, given=given)

    def _run(self, *command: str, given: bytes = b"") -> str:
        done = subprocess.run(
            ["nsenter", "--target", str(self.pid), *NAMESPACES, "--root", "--wd", *command],
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=900,
            check=False,
        )
        said = done.stdout.decode(errors="replace")
        assert done.returncode == 0, f"{self.name}: {shlex.join(command)}:\n{said}"
        return said

    def close(self) -> None:
        """Switches it off: all its processes are killed, and what it wrote is gone."""
        self._process.kill()
        self._process.wait()


@contextmanager
def machines(folder: Path, checkout: Path, addresses: Mapping[str, str]) -> Iterator[list[SshMachine]]:
    """Machines of these names and addresses, which are up and reach each other and nothing else.

    The first has the private key that opens all of them, and is the way out of their network.
    """
    keys = folder / "keys"
    keys.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / "id_ed25519"], check=True)
    with ExitStack() as stack:
        found: list[SshMachine] = []
        for name in addresses:
            (folder / name).mkdir()
            found.append(stack.enter_context(closing(SshMachine(name, folder / name, keys, checkout))))
        for machine in found:
            machine.wait_until_up()
        own, *others = found
        own.run("umask 077; cat >~/.ssh/id_ed25519", given=(keys / "id_ed25519").read_bytes())
        own.run("echo StrictHostKeyChecking accept-new >~/.ssh/config")
        gateway = addresses[own.name]
        own.as_root(
            f"ip link set lo up; ip link add lan type bridge; ip addr add {gateway}/24 dev lan; ip link set lan up"
        )
        for machine in others:
            here = ["eth0", "netns", str(machine.pid)]
            there = [machine.name, "netns", str(own.pid)]
            subprocess.run(["ip", "link", "add", *here, "type", "veth", "peer", "name", *there], check=True)
            own.as_root(f"ip link set {machine.name} master lan up")
            machine.as_root(
                f"ip link set lo up; ip addr add {addresses[machine.name]}/24 dev eth0; ip link set eth0 up"
            )
            machine.as_root(f"ip route add default via {gateway}")
        yield found
