"""The files of Ray's cluster launcher: what it takes, what they close, and what their setup commands do."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray.autoscaler
import yaml

ROOT = Path(__file__).parents[2]
FILES = ("cluster.yaml", "deploy/on-premise.yaml")
MOUNTS = {
    "~/signed-supermask-sweeps.bundle": "signed-supermask-sweeps.bundle",
    "~/.ray/auth_token": "~/.ray/auth_token",
}


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text())


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("name", FILES)
def test_a_launcher_file_fits_rays_schema(name: str) -> None:
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(load(name), schema)
    with pytest.raises(jsonschema.ValidationError, match="Additional properties are not allowed"):
        jsonschema.validate(load(name) | {"cluster": "misspelt"}, schema)


@pytest.mark.parametrize("name", FILES)
def test_every_node_gets_the_token_and_one_commit_and_the_dashboard_stays_at_home(name: str) -> None:
    document = load(name)
    assert document["file_mounts"] == MOUNTS
    assert [c for c in document["head_start_ray_commands"] if c.startswith("ray start")] == [
        "ray start --head --port=6379 --dashboard-host=127.0.0.1 --autoscaling-config=~/ray_bootstrap_config.yaml"
    ]
    assert document["worker_start_ray_commands"][:2] == ["ray stop", "ray start --address=$RAY_HEAD_IP:6379"]


def test_the_aws_cluster_grows_from_nothing_on_spot_and_its_head_trains_nothing() -> None:
    document = load("cluster.yaml")
    types = document["available_node_types"]
    head = types.pop(document["head_node_type"])
    assert head["resources"] == {"CPU": 0}
    assert head["max_workers"] == 0
    for worker in types.values():
        assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
        assert (worker["min_workers"], worker["max_workers"]) == (0, document["max_workers"])
    # Ray would open SSH to the world in a group that it makes, and adds whatever stands here to one that is empty.
    assert document["provider"]["security_group"] == {"GroupName": "signed-supermask-sweeps"}


def test_ray_prepares_the_on_premise_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(load("deploy/on-premise.yaml"))
    validate_config(prepared)
    workers = load("deploy/on-premise.yaml")["provider"]["worker_ips"]
    (kind,) = prepared["available_node_types"].values()
    assert (kind["min_workers"], kind["max_workers"]) == (len(workers), len(workers))


@pytest.mark.parametrize("name", FILES)
def test_setup_commands_check_out_the_bundled_commit_whatever_was_there(name: str, tmp_path: Path) -> None:
    own, home = tmp_path / "own", tmp_path / "home"
    (own / "deploy").mkdir(parents=True)
    home.mkdir()
    script = own / "deploy/node.sh"
    git(tmp_path, "init", "--quiet", str(own))
    for version in ("first", "second"):
        script.write_text(f"#!/bin/sh\necho {version} >>~/versions\n")
        script.chmod(0o755)
        git(own, "add", ".")
        git(own, "commit", "--quiet", "-m", version)
        (own / "not-committed").touch()
        git(own, "bundle", "create", "--quiet", str(home / "signed-supermask-sweeps.bundle"), "HEAD")
        for command in load(name)["setup_commands"]:
            subprocess.run(["bash", "-ec", command], check=True, env={**os.environ, "HOME": str(home)})
        checkout = home / "signed-supermask-sweeps"
        assert git(checkout, "rev-parse", "HEAD") == git(own, "rev-parse", "HEAD")
        assert git(checkout, "status", "--porcelain") == ""
        script = own / "deploy/node.sh"
        (checkout / "deploy/node.sh").write_text("changed on the node\n")
    assert (home / "versions").read_text() == "first\nsecond\n"
