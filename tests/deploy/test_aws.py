"""The page about AWS and cluster.yaml on moto: from nothing to workers that Ray's autoscaler starts, and back."""

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.amazon import ENDPOINT, REGION, Call, Policy, blocks, calls, install_tools, needs, permits
from tests.deploy.machines import Machine, in_background, machine, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

REPOSITORY = Path(__file__).resolve().parents[2]
NAME = yaml.safe_load((REPOSITORY / "cluster.yaml").read_text())["cluster_name"]
PAGE = blocks(REPOSITORY / "docs/clusters/aws.md")
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
PACK = """
import ray
from ray.util.placement_group import placement_group
ray.init(address="auto", log_to_driver=False)
ray.get(placement_group([{"CPU": 1, "GPU": 1}]).ready())
"""


class Account:
    """An AWS account, a user's own machine with a checkout, and the head that `ray up` has ordered."""

    def __init__(self, node: Path, folder: Path, stack: ExitStack) -> None:
        self.folder, self.nodes, self._stack = folder, folder / "nodes", stack
        for made in ("bin", "checkout", "nodes", "home"):
            (folder / made).mkdir(parents=True)
        install_tools(folder / "bin")
        self._path = f"{folder}/bin:{node}/.venv/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        self.own = stack.enter_context(machine(folder, self._settings("user", home=folder / "home")))
        self.recording = folder / "recording"
        script = 'cd "$1" && exec "$2" -m moto.server --host 127.0.0.1 --port 5000 >moto.log 2>&1'
        settings = (
            "export MOTO_IAM_LOAD_MANAGED_POLICIES=true MOTO_ENABLE_RECORDING=1 MOTO_RECORDER_FILEPATH=$1/recording"
        )
        stack.enter_context(in_background(self.own, f"{settings}\n{script}", str(folder), sys.executable))
        up = "python -c 'import socket; socket.create_connection((\"127.0.0.1\", 5000))'"
        until(lambda: self.own.run(up).returncode == 0, "moto answers")
        shutil.copy(REPOSITORY / "cluster.yaml", folder / "checkout")
        shutil.copytree(REPOSITORY / "deploy", folder / "checkout/deploy")
        who = "git -c user.name=t -c user.email=t@example.org"
        self.follow(f"git init -q && {who} add . && {who} commit -qm one")

    def _settings(self, key: str, *, home: Path, **more: str) -> dict[str, str]:
        keys = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL": ENDPOINT}
        return {
            **keys, "AWS_DEFAULT_REGION": REGION, "HOME": str(home), "NODES": str(self.nodes),
            "PATH": self._path, **TOKEN, **more,
        }  # fmt: skip

    def follow(self, commands: str) -> str:
        """Runs commands of the page in the checkout."""
        bucket = "export AWS_DEFAULT_REGION=eu-central-1 BUCKET=my-supermask-sweeps"
        return self.own.check(f"set -euo pipefail; cd {self.folder}/checkout\n{bucket}\n{commands}")

    def ask(self, *words: str) -> Any:
        """What `aws` answers."""
        return json.loads(self.own.check('aws "$@" --output json', *words) or "null")

    def instances(self, kind: str) -> list[dict[str, Any]]:
        """Those of a kind, head or worker, that are not terminated."""
        state = "Name=instance-state-name,Values=pending,running,stopping,stopped"
        found = self.ask("ec2", "describe-instances", "--filters", f"Name=tag:ray-node-type,Values={kind}", state)
        return [one for reservation in found["Reservations"] for one in reservation["Instances"]]

    def orders(self, part: str) -> list[str]:
        """What Ray told instances by SSH, of those with a certain part in it."""
        return [text for file in self.nodes.glob("order-*") if part in (text := file.read_text())]

    def start_head(self, node: Path) -> tuple[str, Machine]:
        """Starts Ray as `ray up` has ordered it, with the files that it sent and the rights of the head's role.

        Returns:
            The access key of that role, and the machine.
        """
        role = f"arn:aws:iam::123456789012:role/{self.role()}"
        given = self.ask("sts", "assume-role", "--role-arn", role, "--role-session-name", "head")["Credentials"]
        (home,) = self.nodes.glob("ubuntu@*")
        settings = self._settings(
            given["AccessKeyId"], home=home, AWS_SESSION_TOKEN=given["SessionToken"],
            # Workers that nobody waits for any more are ended at once, not after ten minutes.
            RAY_AUTOSCALER_PENDING_NODE_IDLE_TIMEOUT_S="1",
        )  # fmt: skip
        profile = node.with_name(f"{node.name}-home") / ".bashrc"  # written by deploy/node.sh
        (home / ".bashrc").write_text(f"{profile.read_text()}PATH={self.folder}/bin:$PATH\n")
        head = self._stack.enter_context(machine(self.folder, settings, self.own))
        (order,) = self.orders("ray start --head")
        head.check(order)
        return given["AccessKeyId"], head

    def calls(self, key: str) -> list[Call]:
        """The calls that were made with an access key."""
        return [call for call in calls(self.recording) if call.key == key]

    def role(self) -> str:
        """The name of the one role in the head's instance profile."""
        (head,) = self.instances("head")
        name = head["IamInstanceProfile"]["Arn"].rpartition("/")[2]
        profile = self.ask("iam", "get-instance-profile", "--instance-profile-name", name)["InstanceProfile"]
        return profile["Roles"][0]["RoleName"]

    def policies(self, role: str) -> list[Policy]:
        """The documents of the policies of a role, its own and those attached to it."""
        found = []
        for name in self.ask("iam", "list-role-policies", "--role-name", role)["PolicyNames"]:
            own = self.ask("iam", "get-role-policy", "--role-name", role, "--policy-name", name)
            found.append(own["PolicyDocument"])
        for policy in self.ask("iam", "list-attached-role-policies", "--role-name", role)["AttachedPolicies"]:
            arn = ("--policy-arn", policy["PolicyArn"])
            version = self.ask("iam", "get-policy", *arn)["Policy"]["DefaultVersionId"]
            found.append(
                self.ask("iam", "get-policy-version", *arn, "--version-id", version)["PolicyVersion"]["Document"]
            )
        return found


@pytest.fixture
def account(node_checkout: Path, tmp_path: Path) -> Iterator[Account]:
    if not Path("/usr/bin/aws").exists():
        pytest.skip("no AWS command line: apt-get install awscli")
    with ExitStack() as stack:
        yield Account(node_checkout, tmp_path, stack)


def check_group(group: dict[str, Any]) -> None:
    """SSH from one address, everything inside the group, nothing else."""
    ssh, inside = sorted(group["IpPermissions"], key=lambda rule: rule["IpProtocol"], reverse=True)
    assert (ssh["IpProtocol"], ssh["FromPort"], ssh["ToPort"], ssh["UserIdGroupPairs"]) == ("tcp", 22, 22, [])
    assert [there["CidrIp"] for there in ssh["IpRanges"]] == ["203.0.113.7/32"]
    assert [there["GroupId"] for there in inside["UserIdGroupPairs"]] == [group["GroupId"]]
    assert inside["IpRanges"] == []


def check_instance(instance: dict[str, Any], group: str, kind: str) -> None:
    assert instance["InstanceType"] == kind
    assert [found["GroupId"] for found in instance["SecurityGroups"]] == [group]
    assert instance["MetadataOptions"]["HttpTokens"] == "required"


def missing(found: Sequence[Call], policies: Sequence[Policy], *, cluster: str = NAME) -> set[str]:
    """The actions of calls about a cluster's instances that a role with these policies may not do."""
    return {need.action for call in found for need in needs(call, cluster) if not permits(policies, need)}


OLD_ROLE = """
aws iam create-role --role-name old --assume-role-policy-document '{}'
for policy in AmazonEC2FullAccess AmazonS3FullAccess; do
    aws iam attach-role-policy --role-name old --policy-arn "arn:aws:iam::aws:policy/$policy"
done
"""
"""The role that Ray makes where none is named."""


def test_the_page_from_nothing_and_back(account: Account) -> None:
    account.follow(PAGE["once"])
    account.follow(PAGE["start"])
    (group,) = account.ask("ec2", "describe-security-groups", "--group-names", NAME)["SecurityGroups"]
    check_group(group)
    (head,) = account.instances("head")
    check_instance(head, group["GroupId"], "m7i.xlarge")
    assert head["IamInstanceProfile"]["Arn"].endswith(f"/{NAME}")
    assert not account.orders("pip install")

    account.follow(PAGE["price"])
    (image,) = account.follow(PAGE["image"]).split()[-1:]
    assert image.startswith("ami-")
    account.follow(PAGE["down"])
    account.follow(PAGE["away"])
    for listed in (
        ("ec2", "describe-security-groups", "--filters", f"Name=group-name,Values={NAME}"),
        ("ec2", "describe-key-pairs"),
        ("ec2", "describe-images", "--owners", "self"),
        ("iam", "list-roles", "--query", f"{{Roles: Roles[?RoleName=='{NAME}']}}"),
        ("iam", "list-instance-profiles"),
        ("s3api", "list-buckets", "--query", "{Buckets: Buckets}"),
        ("ec2", "describe-volumes"),
    ):
        (found,) = account.ask(*listed).values()
        assert not found, listed
    assert account.instances("head") == []


def test_the_head_may_start_and_end_workers_and_no_more(account: Account, node_checkout: Path) -> None:
    account.follow(PAGE["once"])
    account.follow(PAGE["start"])
    key, machine = account.start_head(node_checkout)
    with in_background(machine, f"exec {node_checkout}/.venv/bin/python -c '{PACK}'") as driver:
        until(
            lambda: account.orders("deploy/spot.sh") or driver.poll() is not None, "a worker, told to watch for its end"
        )
        assert driver.poll() is None, driver.communicate()[1]
        (worker,) = account.instances("worker")
    check_instance(worker, worker["SecurityGroups"][0]["GroupId"], "g6.xlarge")
    assert worker["SecurityGroups"][0]["GroupName"] == NAME
    assert worker["InstanceLifecycle"] == "spot"
    assert "IamInstanceProfile" not in worker
    until(
        lambda: "ec2:TerminateInstances" in {call.action for call in account.calls(key)},
        "a worker that nobody waits for is ended",
    )

    made = account.calls(key)
    assert {call.action for call in made} == {
        "ec2:RunInstances", "ec2:CreateTags", "ec2:DescribeInstances", "ec2:TerminateInstances"
    }  # fmt: skip
    own = account.policies(account.role())
    assert missing(made, own) == set()
    assert missing(made, own, cluster="another") == {"ec2:CreateTags", "ec2:RunInstances", "ec2:TerminateInstances"}
    account.own.check(OLD_ROLE)
    assert missing(made, account.policies("old")) == {"ssm:GetParameters"}
