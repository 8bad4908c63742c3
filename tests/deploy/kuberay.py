"""What KubeRay 1.6 and newer makes of deploy/kuberay.yaml: commands and environment of its pods."""

import re
from pathlib import Path
from typing import Any

import yaml

MANIFEST = Path(__file__).parents[2] / "deploy/kuberay.yaml"
GCS_PORT, DASHBOARD_PORT, AGENT_PORT = 6379, 8265, 52365
HEALTH = "/api/healthz"
"""At the agent's port: what the probes of a pod ask by HTTP, from Ray 2.53 on, without a token."""


def documents() -> dict[str, dict[str, Any]]:
    """The manifest's documents by kind."""
    return {document["kind"]: document for document in yaml.safe_load_all(MANIFEST.read_text())}


def groups() -> list[dict[str, Any]]:
    """The head's group and those of workers."""
    cluster = documents()["RayJob"]["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def container(group: dict[str, Any]) -> dict[str, Any]:
    """The first container of a group's pods, in which Ray runs."""
    return group["template"]["spec"]["containers"][0]


def ray_start(group: dict[str, Any], *, head: str | None, **own: str) -> list[str]:
    """The command of a container.

    Args:
        group: Of the manifest.
        head: The head's address, for a worker.
        own: Parameters of `ray start` that differ from the manifest's: underscores stand for dashes.
    """
    limits = container(group)["resources"]["limits"]
    gibibytes = re.fullmatch(r"(\d+)Gi", limits["memory"])
    assert gibibytes is not None
    parameters = {"num-cpus": limits["cpu"], "memory": str(int(gibibytes[1]) * 2**30)}
    if "nvidia.com/gpu" in limits:
        parameters["num-gpus"] = limits["nvidia.com/gpu"]
    parameters |= {"metrics-export-port": "8080", "dashboard-agent-listen-port": str(AGENT_PORT)}
    if head is not None:
        parameters["address"] = f"{head}:{GCS_PORT}"
    parameters |= group["rayStartParams"] | {name.replace("_", "-"): value for name, value in own.items()}
    words = ["ray start", *([] if head else ["--head", "--no-monitor"]), "--block"]
    words += [f"--{name}={value}" for name, value in sorted(parameters.items())]
    return ["/bin/bash", "-c", "--", f"ulimit -n 65536; {' '.join(words)}"]


def environment(group: dict[str, Any], *, token: str, head: str = "127.0.0.1") -> dict[str, str]:
    """The environment of a container, without what its image brings."""
    own = {variable["name"]: variable["value"] for variable in container(group).get("env", [])}
    return own | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_ADDRESS": f"{head}:{GCS_PORT}"}


def submitter(entrypoint: str, *, head: str, job: str) -> list[str]:
    """The command of the pod that submits a job and follows its log; it may be started again."""
    at = f"--address http://{head}:{DASHBOARD_PORT}"
    script = (
        f"if ! ray job status {at} {job} >/dev/null 2>&1 ; "
        f"then ray job submit {at} --no-wait --submission-id {job} -- {entrypoint.strip()} ; "
        f"fi ; ray job logs {at} --follow {job}"
    )
    return ["/bin/bash", "-c", "--", script]
