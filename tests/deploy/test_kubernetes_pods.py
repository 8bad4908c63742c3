"""deploy/kuberay.yaml on real Ray: commands, probes, job and hooks of its pods, without Kubernetes."""

import json
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sweeps import results
from sweeps.store.paths import SweepPaths
from tests.deploy.kuberay import (
    AGENT_PORT,
    DASHBOARD_PORT,
    HEALTH,
    MANIFEST,
    container,
    documents,
    environment,
    groups,
    ray_start,
    submitter,
)
from tests.deploy.pods import ADDRESSES, PATIENCE_SECONDS, Pod, join, skip_without_namespaces, wait_for
from tests.faults.soak import in_soak

PAGE = MANIFEST.parents[1] / "docs/clusters/kubernetes.md"
API = str(Path(__file__).with_name("kubernetes_api.py"))
HEAD, WORKER = ADDRESSES
ASK = """
import sys, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=10).status)
except urllib.error.HTTPError as error:
    print(error.code)
except OSError:
    print("nobody listens")
"""

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


class Cluster:
    """The pods of a head and of a worker. The worker begins when it is told to, as with an autoscaler."""

    def __init__(self, folder: Path, checkout: Path) -> None:
        self.volume = folder / "v"
        self._token = secrets.token_hex(32)
        head, worker = groups()
        commands = (ray_start(head, head=None), ray_start(worker, head=HEAD, num_gpus="0", num_cpus="2"))
        self.head = Pod(folder / "h", checkout, self._environment(head, "127.0.0.1"), commands[0])
        self.worker = Pod(folder / "w", checkout, self._environment(worker, HEAD), commands[1])

    def _environment(self, group: dict[str, object], head: str) -> dict[str, str]:
        found = environment(group, token=self._token, head=head)
        return {name: value.replace("/sweeps", str(self.volume)) for name, value in found.items()}

    def answer(self, address: str, port: int, path: str) -> str:
        """What a pod says to somebody without a token, from outside."""
        other = self.worker if address == HEAD else self.head
        return other.run(["python", "-c", ASK, f"http://{address}:{port}{path}"]).stdout.strip()

    def is_ready(self, address: str) -> bool:
        return self.answer(address, AGENT_PORT, HEALTH) == "200"

    def job(self, name: str) -> str:
        """The state that Ray gives a job, and the operator reads."""
        command = ["ray", "job", "status", name, "--address", f"http://{HEAD}:{DASHBOARD_PORT}"]
        return self.head.run(command).stdout

    def session(self, name: str) -> str:
        paths = SweepPaths(self.volume / "out", name)
        return json.loads(paths.session.read_text())["state"] if paths.session.exists() else "none"


@pytest.fixture(scope="module")
def cluster(node_checkout: Path) -> Iterator[Cluster]:
    skip_without_namespaces()
    folder = Path(tempfile.mkdtemp(prefix="pods-"))
    made = None
    try:
        made = Cluster(folder, node_checkout)
        join([made.head, made.worker])
        made.head.go()
        wait_for(lambda: made.is_ready(HEAD), f"the head never becomes ready: {made.head.log}")
        yield made
    finally:
        for pod in (made.head, made.worker) if made else ():
            pod.end()
        shutil.rmtree(folder)


@pytest.fixture
def asked(cluster: Cluster, tmp_path: Path) -> Iterator[Callable[[], int]]:
    """How many workers Ray's autoscaler has asked for. It runs in the head's pod, as the operator starts it."""
    shown = {"name": "sweep", "namespace": "default"}
    labels = {"ray.io/node-type": "head", "ray.io/group": "headgroup"}
    status = {"podIP": HEAD, "containerStatuses": [{"state": {"running": {}}}]}
    known = {
        "cluster": {"metadata": shown, "spec": documents()["RayJob"]["spec"]["rayClusterSpec"]},
        "pods": [{"metadata": {"name": "head", "labels": labels}, "status": status}],
    }
    state = tmp_path / "cluster.json"
    state.write_text(json.dumps(known))
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    request = f"openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=api -addext subjectAltName=IP:{WORKER}".split()
    subprocess.run([*request, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    place = {"KUBERNETES_SERVICE_HOST": WORKER, "KUBERNETES_SERVICE_PORT_HTTPS": "6443", "KUBERAY_CRD_VER": "v1"}
    place |= {f"RAY_KUBERAY_{name}_PATH": str(certificate) for name in ("CLIENT_CERT", "CA_CERT")}
    words = [f"{name}={value}" for name, value in (place | {"RAY_KUBERAY_CLIENT_KEY_PATH": str(key)}).items()]
    words += ["ray", "kuberay-autoscaler", "--cluster-name", "sweep", "--cluster-namespace", "default"]
    running = [cluster.worker.start(["python", API, str(tmp_path)]), cluster.head.start(["env", *words])]
    yield lambda: json.loads(state.read_text())["cluster"]["spec"]["workerGroupSpecs"][0]["replicas"]
    for pod, name in ((cluster.worker, API), (cluster.head, "kuberay-autoscaler")):
        pod.run(["pkill", "--full", name])
    for process in running:
        process.communicate(timeout=PATIENCE_SECONDS)


def small(name: str, *options: str) -> str:
    """The manifest's entrypoint with a small space, on CPU cores."""
    words = documents()["RayJob"]["spec"]["entrypoint"].split()
    words[1:3] = [name, "fcn_digits"]
    for option, value in (("--gpus-per-pack", "0"), ("--packs", "2"), ("--trials", "2")):
        words[words.index(option) + 1] = value
    return " ".join([*words, *options])


def test_the_probes_are_answered_without_a_token_and_nothing_else_is(cluster: Cluster) -> None:
    for port, path in ((DASHBOARD_PORT, "/api/gcs_healthz"), (AGENT_PORT, "/api/local_raylet_healthz")):
        wait_for(lambda port=port, path=path: cluster.answer(HEAD, port, path) == "200", f"{path} is never right")
    for port in (DASHBOARD_PORT, AGENT_PORT):
        assert cluster.answer(HEAD, port, "/api/jobs/") == "401"


def test_packs_that_wait_make_the_autoscaler_ask_for_workers(cluster: Cluster, asked: Callable[[], int]) -> None:
    entrypoint = documents()["RayJob"]["spec"]["entrypoint"].replace(" fcn_mnist fcn_mnist ", " waits fcn_digits ")
    job = cluster.worker.start(submitter(entrypoint, head=HEAD, job="fcn-mnist-0"))
    wait_for(lambda: asked() or job.poll() is not None, "the autoscaler asks for nobody")
    cluster.head.run(["ray", "job", "stop", "fcn-mnist-0", "--address", f"http://{HEAD}:{DASHBOARD_PORT}"])
    said = "".join(job.communicate(timeout=PATIENCE_SECONDS))
    assert 1 <= asked() <= groups()[1]["maxReplicas"], said
    assert "stopped" in cluster.job("fcn-mnist-0"), said


def test_a_job_waits_for_its_worker_and_ends_with_a_front_that_is_confirmed(cluster: Cluster) -> None:
    name = documents()["RayJob"]["spec"]["entrypoint"].split()[1]
    entrypoint = small(name, "--set", "fixed.epochs=1")
    job = cluster.worker.start(submitter(entrypoint, head=HEAD, job="fcn-mnist-1"))
    wait_for(lambda: cluster.session(name) == "running" or job.poll() is not None, "the driver does not begin")
    cluster.worker.go()
    wait_for(lambda: cluster.is_ready(WORKER), f"the worker never becomes ready: {cluster.worker.log}")
    said = "".join(job.communicate(timeout=PATIENCE_SECONDS))
    assert "succeeded" in cluster.job("fcn-mnist-1"), said
    rows = results.load(cluster.volume / "out", name).to_pylist()
    assert [(row["trial"], row["state"]) for row in rows] == [(trial, "finished") for trial in range(2)], said

    for command in re.findall(r'^kubectl exec "\$head" -- (sweeps .*)', PAGE.read_text(), flags=re.MULTILINE):
        words = command.replace("--gpus-per-pack 1", "--gpus-per-pack 0").split()
        words += ["--seeds", "2", "--lanes", "2", "--json"] if "confirm" in words else []
        done = cluster.head.run(words)
        assert done.returncode == 0, done.stderr
        if "confirm" in words:
            (confirmed,) = json.loads(done.stdout)
            assert confirmed["seeds"] == 2


@in_soak
def test_a_head_that_must_go_ends_its_sweep_and_the_job_counts_as_failed(cluster: Cluster) -> None:
    entrypoint = small("long", "--set", "fixed.epochs=100000")
    job = cluster.worker.start(submitter(entrypoint, head=HEAD, job="fcn-mnist-2"))
    cluster.worker.go()
    hook = container(groups()[0])["lifecycle"]["preStop"]["exec"]["command"]
    epochs = cluster.volume / "out/long/epochs"
    wait_for(lambda: list(epochs.glob("*.parquet")) or job.poll() is not None, "nothing is trained")
    done = cluster.head.run(hook)
    said = "".join(job.communicate(timeout=PATIENCE_SECONDS))
    assert (done.returncode, done.stderr) == (0, ""), said
    assert cluster.session("long") == "interrupted", said
    assert "failed" in cluster.job("fcn-mnist-2")  # so the operator tries it again
    assert cluster.head.run(hook).returncode == 0
