"""The manifest for KubeRay: against the schemas of Kubernetes and KubeRay, and what its parts promise each other."""

import copy
import os
import re
import subprocess
import sys
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.deploy.kuberay import MANIFEST, container, documents, groups
from tests.deploy.kuberay_schema import OWN, PUBLISHED, SMALL, published

ROOT = MANIFEST.parents[1]
PAGE = ROOT / "docs/clusters/kubernetes.md"
VERSION = kubernetes_validate.latest_version()


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


def shared_cluster() -> dict[str, Any]:
    """The RayCluster that the page's own lines make of the manifest."""
    (script,) = re.findall(r"<<'END'\n(.*?)END\n", PAGE.read_text(), flags=re.DOTALL)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    made = {document["kind"]: document for document in yaml.safe_load_all(done.stdout)}
    assert {kind: made[kind] for kind in ("PersistentVolumeClaim", "NetworkPolicy")} == {
        kind: documents()[kind] for kind in ("PersistentVolumeClaim", "NetworkPolicy")
    }
    return made["RayCluster"]


def assert_fits(schema: dict[str, Any], document: dict[str, Any]) -> None:
    """The document has no fault, and a misspelt field would be one wherever it stands."""
    check = jsonschema.Draft7Validator(schema)
    assert [error.message for error in check.iter_errors(document)] == []
    for path in (["spec"], ["spec", "autoscalerOptions"], ["spec", "workerGroupSpecs", 0]):
        wrong = copy.deepcopy(document)
        place = wrong
        for name in path:
            place = place[name] if name in place or isinstance(name, int) else place["rayClusterSpec"][name]
        place["misspelt"] = 1
        assert any("misspelt" in error.message for error in check.iter_errors(wrong)), path


def test_the_job_and_the_shared_cluster_have_fields_that_kuberay_knows() -> None:
    assert_fits(SMALL["RayJob"], documents()["RayJob"])
    assert_fits(SMALL["RayCluster"], shared_cluster())


@pytest.mark.parametrize("version", [*dict.fromkeys(version for version, _ in PUBLISHED), OWN])
def test_the_job_and_the_shared_cluster_fit_the_published_schemas(version: str, pytestconfig: pytest.Config) -> None:
    assert pytestconfig.cache is not None
    cache = pytestconfig.cache.mkdir("kuberay")
    assert_fits(published(version, "RayJob", cache), documents()["RayJob"])
    assert_fits(published(version, "RayCluster", cache), shared_cluster())


def test_workers_come_and_go_and_ports_stay_inside() -> None:
    cluster = documents()["RayJob"]["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    head, *workers = groups()
    assert head["serviceType"] == "ClusterIP"
    for worker in workers:
        assert worker["minReplicas"] == worker["replicas"] == 0 < worker["maxReplicas"]


def test_rays_autoscaler_reads_the_sizes_of_pods_from_the_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.autoscaler._private.kuberay import autoscaling_config, node_provider

    class Kubernetes:
        def __init__(self, namespace: str) -> None:
            self.namespace = namespace

        def get(self, path: str) -> dict[str, Any]:
            cluster = shared_cluster()
            return cluster | {"metadata": {"name": path, "namespace": self.namespace}}

    monkeypatch.setattr(node_provider, "KubernetesHttpApiClient", Kubernetes)
    kinds = autoscaling_config.AutoscalingConfigProducer("sweep", "default")()["available_node_types"].values()
    sizes = [(kind["max_workers"], kind["resources"].get("CPU"), kind["resources"].get("GPU")) for kind in kinds]
    assert sizes == [(0, 0, None), (8, 4, 1)]


def test_a_pod_that_must_go_has_the_time_that_its_hook_takes() -> None:
    for group in groups():
        script, seconds = container(group)["lifecycle"]["preStop"]["exec"]["command"]
        assert os.access(ROOT / script, os.X_OK)
        assert int(seconds) < group["template"]["spec"]["terminationGracePeriodSeconds"]
    own = {variable["name"]: variable["value"] for variable in container(groups()[0])["env"]}
    head = container(groups()[0])["lifecycle"]["preStop"]["exec"]["command"]
    assert int(own["SWEEPS_GRACE_SECONDS"]) < int(own["RAY_JOB_STOP_WAIT_TIME_S"]) <= int(head[1])


def test_the_ray_of_the_manifest_is_the_tested_one() -> None:
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    assert f"ray=={documents()['RayJob']['spec']['rayClusterSpec']['rayVersion']}" in constraints


def test_pods_are_not_root_and_the_policy_is_about_all_of_them() -> None:
    (label,) = documents()["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].items()
    for group in groups():
        pod = as_pod(group)
        assert label in pod["metadata"]["labels"].items()
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        for each in pod["spec"]["containers"]:
            assert each["securityContext"]["allowPrivilegeEscalation"] is False


def test_as_many_packs_as_workers_are_asked_for() -> None:
    words = documents()["RayJob"]["spec"]["entrypoint"].split()
    (worker,) = groups()[1:]
    assert words[words.index("--packs") + 1] == str(worker["maxReplicas"])
    assert (ROOT / words[0]).is_file()
