"""Machines of one's own: the page docs/clusters/on-premise.md, command by command, with real SSH servers."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deploy.ssh_machines import SshMachine, machines, skip_without_machines
from tests.faults.soak import HOUR, SOAK, in_soak

PAGE = Path(__file__).parents[2] / "docs/clusters/on-premise.md"
ADDRESSES = {"own": "10.0.0.100", "head": "10.0.0.1", "worker1": "10.0.0.2", "worker2": "10.0.0.3"}
"""Those of deploy/on-premise.yaml: it is run as it is."""
VERIFY = "sweeps verify digits --root ~/sweeps-out --tracking-uri http://127.0.0.1:5000"
PROGRAMS = ("curl", "make", "pg_createcluster", "tmux")

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(HOUR if SOAK else 1200)]


def commands(section: str) -> list[str]:
    """The lines of shell commands under a heading of the page."""
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]


class Office:
    """The user's own machine and the three machines of the cluster."""

    def __init__(self, own: SshMachine, head: SshMachine, workers: list[SshMachine]) -> None:
        self.own, self.head, self.workers = own, head, workers

    def run(self, line: str) -> str:
        """What a line prints in the checkout on the user's own machine."""
        return self.own.run(f"cd ~/signed-supermask-sweeps && . .venv/bin/activate && {line}")

    def on_head(self, line: str) -> str:
        """What a line prints on the head, by way of Ray's launcher."""
        return self.run(f"ray exec deploy/on-premise.yaml '{line}'")

    def wait_for(self, condition: Callable[[str], object], line: str, *, seconds: float = 600) -> str:
        """What a line on the head prints at last; it may fail until then."""
        end = time.monotonic() + seconds
        while True:
            said = self.on_head(f"{line} || true")
            if condition(said):
                return said
            assert time.monotonic() < end, said
            time.sleep(1)


def active(status: str) -> int:
    """How many machines `ray status` names as active."""
    return sum(map(int, re.findall(r"(\d+) local\.cluster\.node", status.partition("Pending:")[0])))


def finished(status: str) -> int:
    """How many trials `sweeps status --json` says have finished."""
    found = re.search(r"^\{.*\}\r?$", status, flags=re.MULTILINE | re.DOTALL)
    return json.loads(found[0])["trials"]["finished"] if found else 0


@pytest.fixture(scope="module")
def office(node_checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """The machines after all that the page says under "Start"."""
    skip_without_machines(*PROGRAMS)
    files = ["tar", "--create", "--directory", node_checkout, "--exclude", "./.venv", "."]
    commit = "git init --quiet && git add . && git -c user.name=t -c user.email=t@example.org commit --quiet -m all"
    with machines(tmp_path_factory.mktemp("machines"), node_checkout, ADDRESSES) as (own, head, *workers):
        found = Office(own, head, workers)
        own.run("tar --extract --directory signed-supermask-sweeps", given=subprocess.check_output(files))
        found.run(commit)
        head.as_root("pg_createcluster $(ls /usr/lib/postgresql | sort --version-sort | tail -n 1) main")
        for line in commands("Start"):
            found.run(line)
        yield found


@pytest.fixture(scope="module")
def sweep(office: Office) -> str:
    """What `sweeps status --json` says of the page's first sweep when it has ended."""
    start, status = commands("A first sweep")
    office.run(start)
    line = status.removeprefix("ray exec deploy/on-premise.yaml ").strip("'")
    assert line == "sweeps status digits --root ~/sweeps-out"
    return office.wait_for(lambda said: '"state": "finished"' in said, f"{line} --json")


def test_every_machine_joins(office: Office) -> None:
    office.wait_for(lambda said: active(said) == 3, "ray status")
    said = office.on_head("sweeps doctor --address auto")
    assert "0 GPUs on 3 nodes" in said
    assert "10.0.0.1, 10.0.0.2, 10.0.0.3: same packages as here" in said
    assert "the cluster asks for a token" in said


def test_a_sweep_runs_to_its_end_and_mlflow_has_it(office: Office, sweep: str) -> None:
    assert finished(sweep) == 12
    assert "12 trials, 12 MLflow runs: study, Parquet and MLflow agree" in office.on_head(VERIFY)


@in_soak
def test_a_front_is_confirmed_and_copied_to_the_own_machine(office: Office, sweep: str) -> None:
    *_, pareto = [office.run(line) for line in commands("A confirmed front")]
    assert "10 fresh seeds" in pareto


def test_nothing_runs_any_more_when_all_is_taken_down(office: Office) -> None:
    for line in commands("Take everything down"):
        office.run(line)
    running = "ps -eo args= | grep -E 'ray|mlflow|postgres|tmux' | grep -v grep || true"
    end = time.monotonic() + 120
    for machine in (office.head, *office.workers):
        while left := machine.as_root(running):  # MLflow's server ends after its last answer
            assert time.monotonic() < end, left
            time.sleep(0.2)


@in_soak
def test_a_head_whose_port_is_taken_says_so(office: Office) -> None:
    said = office.head.run("""
        cd signed-supermask-sweeps
        .venv/bin/python -m http.server --bind 127.0.0.1 5000 >/dev/null 2>&1 &
        until curl --silent --output /dev/null http://127.0.0.1:5000/; do sleep 0.1; done
        deploy/head.sh ~/mlflow-artifacts 2>&1 || echo "exit code $?"
        kill %1
    """)
    assert "deploy/head.sh: MLflow's server on 127.0.0.1:5000 has ended. The end of /home/ubuntu/mlflow.log:" in said
    assert "address already in use" in said.lower()
    assert said.endswith("exit code 1\n")


@in_soak
def test_all_of_it_is_started_again_with_the_databases_as_they_were(office: Office, sweep: str) -> None:
    (start,) = (line for line in commands("Start") if line.startswith("ray up"))
    office.run(start)
    office.wait_for(lambda said: active(said) == 3, "ray status")
    assert "12 MLflow runs: study, Parquet and MLflow agree" in office.on_head(VERIFY)
