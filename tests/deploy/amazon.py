"""Stand-ins for AWS: what moto's server has recorded, what a role may do, and instances that only write down orders."""

import json
import re
import urllib.parse
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

ENDPOINT = "http://127.0.0.1:5000"
REGION = "eu-central-1"
TOOLS = {
    # Debian's command line does not read AWS_ENDPOINT_URL yet.
    "aws": 'exec /usr/bin/aws --endpoint-url "$AWS_ENDPOINT_URL" "$@"',
    "curl": "echo 203.0.113.7",  # asked which address this machine has
    # One file for each order, whole: what a shell on the instance would be given.
    "ssh": "while [[ $1 == -* ]]; do case $1 in -[io]) shift 2 ;; *) shift ;; esac; done\n"
    'file=$(mktemp "$NODES/ssh.XXXXXX"); printf "%s" "${*:2}" >"$file"; mv "$file" "$NODES/order-${file##*.}-$1"',
    "scp": "true",
    "rsync": 'to=${*: -1}; to=$NODES/${to/:\\~/}; from=${*: -2:1}; mkdir -p "${to%/*}"; cp -r "$from" "$to"',
}
Policy = Mapping[str, Any]


def install_tools(folder: Path) -> None:
    for name, script in TOOLS.items():
        (folder / name).write_text(f"#!/bin/bash\n{script}\n")
        (folder / name).chmod(0o755)


def blocks(page: Path) -> dict[str, str]:
    """The shell commands of a page by the names that its comments give them."""
    found = re.findall(r"<!-- tested: (\w+) -->\n```sh\n(.*?)```", page.read_text(), flags=re.DOTALL)
    return dict(found)


@dataclass(frozen=True)
class Call:
    """A request to AWS: who made it, by access key, and what it asks for."""

    key: str
    action: str
    words: Mapping[str, str]


def calls(recording: Path) -> Iterator[Call]:
    """What moto has recorded of the services that take an Action: EC2, IAM, STS."""
    for line in recording.read_text().splitlines():
        entry = json.loads(line)
        body = b64decode(entry["body"]).decode(errors="replace") if entry["body_encoded"] else entry["body"]
        words = {name: value[0] for name, value in urllib.parse.parse_qs(body).items()}
        signed = re.search(r"Credential=(\w+)/[^/]+/[^/]+/(\w+)/", entry["headers"].get("Authorization", ""))
        if signed and "Action" in words:
            yield Call(signed[1], f"{signed[2]}:{words['Action']}", words)


@dataclass(frozen=True)
class Need:
    """One permission that AWS asks for when it gets a call."""

    action: str
    resource: str
    context: Mapping[str, str]


def needs(call: Call, cluster: str) -> Iterator[Need]:
    """What a call of Ray's autoscaler needs, by AWS's reference of actions, resources and condition keys."""
    ec2 = f"arn:aws:ec2:{REGION}:123456789012:"
    instance, own = f"{ec2}instance/i-1", {"aws:ResourceTag/ray-cluster-name": cluster}
    if call.action != "ec2:RunInstances":
        yield Need(call.action, "*", {}) if "Describe" in call.action else Need(call.action, instance, own)
        return
    numbered = {
        value for name, value in call.words.items() if re.fullmatch(r"TagSpecification\.1\.Tag\.\d+\.\w+", name)
    }
    tags = {"aws:RequestTag/ray-cluster-name": cluster} if {"ray-cluster-name", cluster} <= numbered else {}
    yield Need(call.action, instance, tags)
    for part in ("subnet/s", "security-group/s", "network-interface/n", "volume/v", "key-pair/k"):
        yield Need(call.action, ec2 + part, {})
    yield Need(call.action, f"arn:aws:ec2:{REGION}::image/ami-1", {})
    if call.words.get("InstanceMarketOptions.MarketType") == "spot":
        yield Need(call.action, f"{ec2}spot-instances-request/s", {})
    yield Need("ec2:CreateTags", instance, {"ec2:CreateAction": "RunInstances"})
    image = call.words["ImageId"].removeprefix("resolve:ssm:")
    if image != call.words["ImageId"]:
        yield Need("ssm:GetParameters", f"arn:aws:ssm:{REGION}::parameter{image}", {})
    if any(name.startswith("IamInstanceProfile") for name in call.words):
        yield Need("iam:PassRole", "arn:aws:iam::123456789012:role/any", {})


def permits(policies: Sequence[Policy], need: Need) -> bool:
    """Whether policies of a role allow something and none of them forbids it; conditions are StringEquals alone."""
    effects = {
        statement["Effect"]
        for policy in policies
        for statement in _listed(policy["Statement"])
        if _matches(statement, "Action", need.action) and _matches(statement, "Resource", need.resource)
        if _holds(statement.get("Condition", {}), need.context)
    }
    return effects == {"Allow"}


def _matches(statement: Policy, part: str, value: str) -> bool:
    return any(fnmatchcase(value.lower(), pattern.lower()) for pattern in _listed(statement[part]))


def _holds(condition: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    assert set(condition) <= {"StringEquals"}, f"not known here: {condition}"
    wanted = condition.get("StringEquals", {})
    return all(context.get(key) in _listed(values) for key, values in wanted.items())


def _listed(one_or_many: Any) -> list[Any]:
    return one_or_many if isinstance(one_or_many, list) else [one_or_many]
