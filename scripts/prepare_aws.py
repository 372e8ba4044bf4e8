"""What a cluster file for AWS names and Ray does not make: bucket, roles, ssh rule, token.

    .venv/bin/python scripts/prepare_aws.py ray_cluster.yaml

Can be run again at any time: what is there already is kept, and brought to what is said here.
Nothing that it makes costs money by itself but what is put into the bucket.
"""

import argparse
import ipaddress
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import yaml
from botocore.exceptions import BotoCoreError, ClientError

_BUCKET = re.compile(r"s3://([^/'\"\s]+)")
_LEGAL_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")  # dots break its certificate
_WHAT_IS_MY_ADDRESS = "https://checkip.amazonaws.com"
_TOKEN = Path("~/.ray/auth_token")


class PreparationError(Exception):
    """Something that the user can mend; the message says how."""


@dataclass(frozen=True)
class ClusterFile:
    """What the cluster file says of AWS."""

    cluster_name: str
    region: str
    bucket: str
    security_group: str
    head_profile: str
    worker_profiles: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> "ClusterFile":
        """Read a cluster file; PreparationError says what it lacks."""
        try:
            text = path.read_text(encoding="utf-8")
            parsed = yaml.safe_load(text)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise PreparationError(f"{path}: cannot be read: {error}") from error
        try:
            node_types = dict(parsed["available_node_types"])
            head = node_types.pop(parsed["head_node_type"])
            return cls(
                cluster_name=parsed["cluster_name"],
                region=parsed["provider"]["region"],
                bucket=_the_bucket(path, parsed.get("setup_commands", [])),
                security_group=parsed["provider"]["security_group"]["GroupName"],
                head_profile=head["node_config"]["IamInstanceProfile"]["Name"],
                worker_profiles=tuple(
                    dict.fromkeys(
                        t["node_config"]["IamInstanceProfile"]["Name"] for t in node_types.values()
                    )
                ),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise PreparationError(
                f"{path}: not like ray_cluster.yaml, {error} is missing; begin with a copy of it"
            ) from error


def _the_bucket(path: Path, commands: Sequence[str]) -> str:
    found: set[str] = {name for command in commands for name in _BUCKET.findall(command)}
    if len(found) != 1:
        raise PreparationError(
            f"{path}: setup_commands must name one bucket, in UCLUSTER_TUNE_STUDIES=s3://…;"
            f" there are {len(found)}"
        )
    bucket = found.pop()
    if not _LEGAL_BUCKET.fullmatch(bucket):
        raise PreparationError(
            f"{path}: fill in the name of your bucket: 3 to 63 of a-z, 0-9 and '-', such as"
            f" YOUR-GROUP-ucluster-tune in small letters; it is {bucket!r} now"
        )
    return bucket


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("file", type=Path, help="the cluster file")
    parser.add_argument(
        "--ssh-from",
        metavar="CIDR",
        action="append",
        help="who may reach port 22, such as 192.0.2.7/32, and nobody else; can be repeated;"
        " default: this machine's address",
    )
    options = parser.parse_args(arguments)
    try:
        cluster = ClusterFile.read(options.file)
        _refuse_without_credentials()
        sources = _ssh_sources(options.ssh_from)
        for line in prepare(cluster, sources):
            print(line, flush=True)
        print(_make_token())
    except PreparationError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except (BotoCoreError, ClientError) as error:
        print(f"Error: AWS: {error}", file=sys.stderr)
        print(
            "Credentials come from `aws configure` or AWS_PROFILE; they must be allowed to make"
            " buckets, roles and security groups.",
            file=sys.stderr,
        )
        return 1
    print(f"Next: ray up {options.file}")
    return 0


def _refuse_without_credentials() -> None:
    """Say first what `ray up` would say last, in a traceback."""
    if boto3.Session().get_credentials() is None:
        raise PreparationError(
            "no AWS credentials were found, which `ray up` needs too: `aws configure` writes them,"
            " or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )


def _ssh_sources(given: Sequence[str] | None) -> list[str]:
    """Return the CIDR blocks that may reach port 22."""
    networks = []
    for text in given or [_own_address()]:
        try:
            network = ipaddress.IPv4Network(text)
        except ValueError as error:
            raise PreparationError(
                f"--ssh-from: not an IPv4 address range such as 192.0.2.7/32: {error}"
            ) from error
        if network.prefixlen < 8:
            raise PreparationError(
                f"--ssh-from {network} is a part of the whole world: give your own network"
            )
        networks.append(str(network))
    return networks


def _own_address() -> str:
    try:
        with urllib.request.urlopen(_WHAT_IS_MY_ADDRESS, timeout=10) as answer:
            address: str = answer.read(100).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PreparationError(
            f"this machine's address on the internet was not found ({error}):"
            " give it with --ssh-from ADDRESS/32"
        ) from error
    return f"{address}/32"


def prepare(cluster: ClusterFile, ssh_from: Sequence[str]) -> Iterator[str]:
    """Make all that is missing and yield a line for each thing.

    Args:
        cluster: what the file names.
        ssh_from: CIDR blocks, the addresses that may reach port 22.
    """
    yield _make_bucket(cluster)
    iam = boto3.client("iam")
    account = boto3.client("sts", region_name=cluster.region).get_caller_identity()["Account"]
    bucket = _bucket_policy(cluster)
    for name in cluster.worker_profiles:
        _make_profile(iam, name, bucket)
        yield f"instance profile {name}: the bucket"
    passed = [f"arn:aws:iam::{account}:role/{name}" for name in cluster.worker_profiles]
    _make_profile(iam, cluster.head_profile, bucket + _launching_policy(cluster, passed))
    yield f"instance profile {cluster.head_profile}: the bucket, machines of this cluster"
    _allow_spot(iam)
    yield _make_security_group(cluster, ssh_from)


def _make_bucket(cluster: ClusterFile) -> str:
    s3 = boto3.client("s3", region_name=cluster.region)
    try:
        place = (
            {}  # this one region must not be named
            if cluster.region == "us-east-1"
            else {"CreateBucketConfiguration": {"LocationConstraint": cluster.region}}
        )
        s3.create_bucket(Bucket=cluster.bucket, **place)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "BucketAlreadyExists":
            raise PreparationError(
                f"the bucket {cluster.bucket} belongs to somebody else: choose another name"
            ) from error
        if code != "BucketAlreadyOwnedByYou":
            raise
    s3.put_public_access_block(
        Bucket=cluster.bucket,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        },
    )
    return f"bucket {cluster.bucket} in {cluster.region}, closed to the public"


def _bucket_policy(cluster: ClusterFile) -> list[dict[str, Any]]:
    arn = f"arn:aws:s3:::{cluster.bucket}"
    return [
        {
            "Effect": "Allow",
            "Action": ["s3:ListBucket", "s3:GetBucketLocation", "s3:ListBucketMultipartUploads"],
            "Resource": arn,
        },
        {
            "Effect": "Allow",
            "Action": [
                "s3:GetObject",
                "s3:PutObject",
                "s3:DeleteObject",
                "s3:AbortMultipartUpload",
                "s3:ListMultipartUploadParts",
            ],
            "Resource": f"{arn}/*",
        },
    ]


def _launching_policy(cluster: ClusterFile, passed: list[str]) -> list[dict[str, Any]]:
    """Return what the head's autoscaler may do, in this region and to this cluster's machines."""
    here = {"StringEquals": {"aws:RequestedRegion": cluster.region}}
    ours = {"StringEquals": {"aws:ResourceTag/ray-cluster-name": cluster.cluster_name}}
    return [
        {"Effect": "Allow", "Action": ["ec2:Describe*"], "Resource": "*", "Condition": here},
        {"Effect": "Allow", "Action": "ec2:RunInstances", "Resource": "*", "Condition": here},
        {
            "Effect": "Allow",
            "Action": "ec2:CreateTags",
            "Resource": "*",
            "Condition": {"StringEquals": {"ec2:CreateAction": "RunInstances"}},
        },
        {
            "Effect": "Allow",
            "Action": [
                "ec2:CreateTags",
                "ec2:StartInstances",
                "ec2:StopInstances",
                "ec2:TerminateInstances",
            ],
            "Resource": "*",
            "Condition": ours,
        },
        {
            "Effect": "Allow",
            "Action": "ssm:GetParameters",  # the images' ids
            "Resource": "arn:aws:ssm:*::parameter/aws/service/*",
        },
        {
            "Effect": "Allow",
            "Action": "iam:PassRole",
            "Resource": passed,
            "Condition": {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}},
        },
    ]


def _make_profile(iam: Any, name: str, statements: list[dict[str, Any]]) -> None:
    """Make role and instance profile of one name, with this policy."""
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "ec2.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
    _unless_there(iam.create_role, RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
    iam.put_role_policy(
        RoleName=name,
        PolicyName=name,
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": statements}),
    )
    _unless_there(iam.create_instance_profile, InstanceProfileName=name)
    profile = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
    if not profile["Roles"]:
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)


def _unless_there(make: Any, **named: str) -> None:
    try:
        make(**named)
    except ClientError as error:
        if error.response["Error"]["Code"] != "EntityAlreadyExists":
            raise


def _allow_spot(iam: Any) -> None:
    """Make the role that an account's first spot machine needs, which the head may not make."""
    try:
        iam.create_service_linked_role(AWSServiceName="spot.amazonaws.com")
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("InvalidInput", "EntityAlreadyExists"):
            raise


def _make_security_group(cluster: ClusterFile, ssh_from: Sequence[str]) -> str:
    """Make the group with its two rules, and remove all others that let anything in."""
    ec2 = boto3.resource("ec2", region_name=cluster.region)
    networks = list(ec2.vpcs.filter(Filters=[{"Name": "is-default", "Values": ["true"]}]))
    if not networks:
        raise PreparationError(
            f"this account has no default network in {cluster.region}: make one with"
            " `aws ec2 create-default-vpc`, or name SubnetIds and SecurityGroupIds in node_config"
        )
    name, network = cluster.security_group, networks[0]
    found = network.security_groups.filter(Filters=[{"Name": "group-name", "Values": [name]}])
    group = next(iter(found), None) or network.create_security_group(
        GroupName=name, Description="ucluster-tune: ssh, and all between its own machines"
    )
    wanted = [
        _rule("tcp", (22, 22), IpRanges=[{"CidrIp": source}]) for source in sorted(set(ssh_from))
    ]
    wanted.append(_rule("-1", None, UserIdGroupPairs=[{"GroupId": group.id}]))
    # One by one, and what stays is not touched: the cluster may be running.
    present = [rule for permission in group.ip_permissions for rule in _single_rules(permission)]
    superfluous = [rule for rule in present if rule not in wanted]
    missing = [rule for rule in wanted if rule not in present]
    if superfluous:
        group.revoke_ingress(IpPermissions=superfluous)
    if missing:
        group.authorize_ingress(IpPermissions=missing)
    sources = ", ".join(sorted(set(ssh_from)))
    return f"security group {name}: port 22 from {sources}, and all between its own machines"


def _rule(protocol: str, ports: tuple[int, int] | None, **source: Any) -> dict[str, Any]:
    limits = {"FromPort": ports[0], "ToPort": ports[1]} if ports else {}
    return {"IpProtocol": protocol, **limits, **source}


def _single_rules(permission: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Take what AWS lists together, one protocol and range of ports, apart by source."""
    ports = None
    if "FromPort" in permission and permission["IpProtocol"] != "-1":
        ports = (permission["FromPort"], permission["ToPort"])
    keys = {
        "IpRanges": "CidrIp",
        "Ipv6Ranges": "CidrIpv6",
        "PrefixListIds": "PrefixListId",
        "UserIdGroupPairs": "GroupId",
    }
    for kind, key in keys.items():
        for source in permission.get(kind, []):
            yield _rule(permission["IpProtocol"], ports, **{kind: [{key: source[key]}]})


def _make_token() -> str:
    """Make the token where there is none, and keep it from other users."""
    path = _TOKEN.expanduser()
    if not path.exists():
        ray = Path(sys.executable).with_name("ray")
        made = subprocess.run(
            [str(ray), "get-auth-token", "--generate"],
            stdout=subprocess.DEVNULL,  # the token itself
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
        if made.returncode or not path.exists():
            raise PreparationError(f"ray get-auth-token --generate: {made.stderr.strip()}")
    path.chmod(0o600)
    return f"token {path}: goes to the cluster's machines; keep it as you keep your ssh key"


if __name__ == "__main__":
    sys.exit(main())
