"""The manifest for KubeRay: whatever Kubernetes knows against its schema, KubeRay's own part by hand."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

MANIFEST = Path(__file__).parents[2] / "deploy/kuberay.yaml"
VERSION = kubernetes_validate.latest_version()


def documents() -> dict[str, dict[str, Any]]:
    return {document["kind"]: document for document in yaml.safe_load_all(MANIFEST.read_text())}


def groups() -> list[dict[str, Any]]:
    cluster = documents()["RayJob"]["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def as_pod(group: dict[str, Any]) -> dict[str, Any]:
    template = group["template"]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", **template["metadata"]}} | {
        "spec": template["spec"]
    }


def test_the_volume_the_policy_and_all_pods_fit_the_schemas_of_kubernetes() -> None:
    found = documents()
    for document in (found["PersistentVolumeClaim"], found["NetworkPolicy"], *map(as_pod, groups())):
        kubernetes_validate.validate(document, VERSION, strict=True)


def test_a_field_that_a_pod_does_not_have_is_found() -> None:
    pod = as_pod(groups()[0])
    pod["spec"]["containers"][0]["securtyContext"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="securtyContext"):
        kubernetes_validate.validate(pod, VERSION, strict=True)


def test_kuberays_own_part() -> None:
    job = documents()["RayJob"]
    assert job["apiVersion"] == "ray.io/v1"
    assert set(job["spec"]) <= {
        "entrypoint", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "rayClusterSpec"
    }  # fmt: skip
    cluster = job["spec"]["rayClusterSpec"]
    assert set(cluster) == {
        "rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs"
    }  # fmt: skip
    assert cluster["authOptions"] == {"mode": "token"}
    assert tuple(map(int, cluster["rayVersion"].split("."))) >= (2, 52, 0)  # the first with tokens
    head, *workers = groups()
    assert set(head) == {"serviceType", "rayStartParams", "template"}
    assert head["serviceType"] == "ClusterIP"
    for worker in workers:
        assert set(worker) == {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
        assert worker["minReplicas"] == worker["replicas"] == 0 < worker["maxReplicas"]
    for group in groups():  # KubeRay wants text
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


def test_the_ray_of_the_manifest_is_the_tested_one() -> None:
    constraints = (MANIFEST.parents[1] / "constraints.txt").read_text().splitlines()
    assert f"ray=={documents()['RayJob']['spec']['rayClusterSpec']['rayVersion']}" in constraints


def test_pods_are_not_root_and_the_policy_is_about_all_of_them() -> None:
    (label,) = documents()["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].items()
    for group in groups():
        pod = as_pod(group)
        assert label in pod["metadata"]["labels"].items()
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        for container in pod["spec"]["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_as_many_packs_as_workers_are_asked_for() -> None:
    words = documents()["RayJob"]["spec"]["entrypoint"].split()
    (worker,) = groups()[1:]
    assert words[words.index("--packs") + 1] == str(worker["maxReplicas"])
    assert Path(MANIFEST.parents[1], words[0]).is_file()
