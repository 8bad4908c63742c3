"""Schemas of KubeRay's kinds that refuse unknown fields: a small one from its API reference, and the published ones."""

import hashlib
import os
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

URL = (
    "https://raw.githubusercontent.com/ray-project/kuberay/v{version}/ray-operator/config/crd/bases/ray.io_{kind}s.yaml"
)
OWN = "SUPERMASK_KUBERAY_CRD"
"""An environment variable: a folder with ray.io_rayjobs.yaml and ray.io_rayclusters.yaml."""
PUBLISHED = {
    ("1.6.2", "RayJob"): "ecae45d9a5dc1be68f1074ba784c495ef9d439d295253b61e1bd51f7b08522f5",
    ("1.6.2", "RayCluster"): "1d51d8c4ce065b22c2069af0ebd72ae25f4a6968e5c5f93a3106ba6fc35bcc1d",
    ("1.7.0", "RayJob"): "01a5cf3b17c1769fda44af7e82debcd98722f0c27b9ab84d084681c6649121f5",
    ("1.7.0", "RayCluster"): "c44704442eef0c6721ad40c1d66782c8bd3fdab9d3344306a5820910a679baa1",
}
"""SHA-256 of the files; those of 1.6.0 and 1.6.1 are the same as those of 1.6.2."""
SECONDS = 20.0


def published(version: str, kind: str, cache: Path) -> dict[str, Any]:
    """KubeRay's schema of a kind, with unknown fields refused.

    Args:
        version: Of KubeRay; `OWN` takes the files that the user has.
        kind: `RayJob` or `RayCluster`.
        cache: Where a downloaded file is kept.
    """
    if version == OWN:
        if not os.environ.get(OWN):
            pytest.skip(f"no schemas of your own: {OWN} names no folder")
        text = (Path(os.environ[OWN]) / f"ray.io_{kind.lower()}s.yaml").read_bytes()
    else:
        kept = cache / f"{kind}-{version}.yaml"
        text = kept.read_bytes() if kept.exists() else _download(URL.format(version=version, kind=kind.lower()))
        assert hashlib.sha256(text).hexdigest() == PUBLISHED[version, kind]
        kept.write_bytes(text)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the fast one: a file has 30,000 lines
    versions = yaml.load(text, loader)["spec"]["versions"]  # noqa: S506 - both are safe loaders
    (schema,) = (each["schema"]["openAPIV3Schema"] for each in versions if each["name"] == "v1")
    return _closed(schema)


def _download(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:  # noqa: S310 - the address is a constant
            return answer.read()
    except OSError as error:
        pytest.skip(f"no published schema: {url}: {error}")


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(value) for name, value in schema.items()}
    if schema.get("type") == "object" and "properties" in schema:
        closed["additionalProperties"] = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    return closed


def _fields(required: str = "", **properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": required.split()}


_TEXT, _TRUTH, _COUNT, _OBJECT = (
    {"type": "string"},
    {"type": "boolean"},
    {"type": "integer", "minimum": 0},
    {"type": "object"},
)
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_HEAD = _fields(
    "rayStartParams template",
    serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    rayStartParams=_TEXTS,
    template=_OBJECT,
)
_WORKERS = _fields(
    "groupName maxReplicas minReplicas rayStartParams template",
    groupName=_TEXT,
    replicas=_COUNT,
    minReplicas=_COUNT,
    maxReplicas=_COUNT,
    numOfHosts=_COUNT,
    suspend=_TRUTH,
    idleTimeoutSeconds=_COUNT,
    rayStartParams=_TEXTS,
    template=_OBJECT,
)
_CLUSTER = _fields(
    "headGroupSpec",
    rayVersion=_TEXT,
    suspend=_TRUTH,
    authOptions=_fields(mode={"enum": ["disabled", "token"]}, secretName=_TEXT),
    enableInTreeAutoscaling=_TRUTH,
    autoscalerOptions=_fields(
        idleTimeoutSeconds=_COUNT,
        upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
        version={"enum": ["v1", "v2"]},
        resources=_OBJECT,
        env={"type": "array"},
    ),
    headGroupSpec=_HEAD,
    workerGroupSpecs={"type": "array", "items": _WORKERS},
)
_JOB = _fields(
    entrypoint=_TEXT,
    backoffLimit=_COUNT,
    activeDeadlineSeconds=_COUNT,
    shutdownAfterJobFinishes=_TRUTH,
    ttlSecondsAfterFinished=_COUNT,
    suspend=_TRUTH,
    jobId=_TEXT,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    runtimeEnvYAML=_TEXT,
    metadata=_TEXTS,
    clusterSelector=_TEXTS,
    rayClusterSpec=_CLUSTER,
)
SMALL = {
    kind: _fields(
        "apiVersion kind metadata spec",
        apiVersion={"const": "ray.io/v1"},
        kind={"const": kind},
        metadata=_OBJECT,
        spec=spec,
    )
    for kind, spec in (("RayJob", _JOB), ("RayCluster", _CLUSTER))
}
"""What this project may write: some of the fields in the API reference of KubeRay 1.6. Pods are checked elsewhere."""
