"""The cluster file is one that Ray's launcher takes."""

import json
from pathlib import Path

import jsonschema
import ray.autoscaler
import yaml

ROOT = Path(__file__).parents[2]


def test_cluster_file_fits_rays_schema() -> None:
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    document = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    jsonschema.validate(document, schema)
    assert document["head_node_type"] in document["available_node_types"]
    assert set(document["file_mounts"].values()) == {"."}
