"""The cluster files, by Ray's own validation and launcher; AWS is simulated by moto."""

import copy
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import boto3
import prepare_aws
import pytest
import yaml
from botocore.exceptions import EndpointConnectionError
from moto import mock_aws
from ray.autoscaler._private.commands import _bootstrap_config
from ray.autoscaler._private.providers import _get_node_provider
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.tags import (
    NODE_KIND_HEAD,
    NODE_KIND_WORKER,
    TAG_RAY_LAUNCH_CONFIG,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_NAME,
    TAG_RAY_NODE_STATUS,
    TAG_RAY_USER_NODE_TYPE,
)

ROOT = Path(__file__).parents[1]
RAY = Path(sys.executable).with_name("ray")
AWS, ON_PREMISE = ROOT / "ray_cluster.yaml", ROOT / "docs" / "clusters" / "on_premise.yaml"
FILES = (AWS, ON_PREMISE)
BUCKET = "our-group-ucluster-tune"
LABORATORY = "192.0.2.0/24"
SSH_FROM_LABORATORY = ("tcp", 22, 22, LABORATORY)
SSH_FROM_EVERYWHERE = ("tcp", 22, 22, "0.0.0.0/0")


def filled_in():
    return AWS.read_text().replace("FILL-IN-A-BUCKET", BUCKET)


def with_image():
    """The AWS file with its switch thrown."""
    return filled_in().replace("#~ ", "").replace("REGISTRY/", "registry.example.org/")


def commands_of(config):
    keys = [key for key in config if key.endswith("_commands")]
    return [command for key in sorted(keys) for command in config[key]]


def rules_of(group):
    """All that may come in, one by one; sources of the group itself are called `itself`."""
    for permission in group.ip_permissions:
        ends = (permission["IpProtocol"], permission.get("FromPort"), permission.get("ToPort"))
        for block in (*permission["IpRanges"], *permission["Ipv6Ranges"]):
            yield (*ends, block.get("CidrIp") or block["CidrIpv6"])
        for pair in permission["UserIdGroupPairs"]:
            yield (*ends, "itself" if pair["GroupId"] == group.id else pair["GroupId"])


def group_named(name):
    groups = [g for g in boto3.resource("ec2").security_groups.all() if g.group_name == name]
    assert len(groups) == 1
    return groups[0]


@pytest.fixture
def aws(monkeypatch, tmp_path):
    """An empty account, and a home without keys in which nothing of the user's own is seen."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # of the launcher's cache
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("0" * 64)
    monkeypatch.chdir(ROOT)
    with mock_aws():
        yield tmp_path


def prepare(folder, *options, text=None):
    file = folder / "cluster.yaml"
    file.write_text(text or filled_in())
    return prepare_aws.main([str(file), *(options or ("--ssh-from", LABORATORY))])


def bootstrap(text):
    return _bootstrap_config(yaml.safe_load(text), no_config_cache=True)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_cluster_file_is_valid_for_ray(file):
    config = prepare_config(yaml.safe_load(file.read_text()))
    validate_config(config)
    assert config["head_node_type"] in config["available_node_types"]


def test_the_switch_to_the_container_image_is_valid_and_both_images_are_named():
    config = prepare_config(yaml.safe_load(with_image()))
    validate_config(config)
    # As docs/images.md and docker/compose.yaml name them.
    assert config["docker"]["head_image"] == "registry.example.org/ucluster-tune:cpu"
    assert config["docker"]["worker_image"] == "registry.example.org/ucluster-tune:gpu"
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    for target in ("cpu", "gpu"):
        assert f"--target {target} -t ucluster-tune:{target} ." in dockerfile
        assert f" AS {target}\n" in dockerfile


def test_in_an_image_nothing_is_compiled_and_its_programs_are_found():
    """What the image has in /opt is looked for there by each command."""
    config = yaml.safe_load(filled_in())
    folder = "/opt/ucluster-tune/.venv"
    assert f"COPY --from=build-cpu {folder} .venv" in (ROOT / "docker/Dockerfile").read_text()
    for key in ("head_setup_commands", "worker_setup_commands"):
        assert all(line.startswith(f"test -e {folder} || ") for line in config[key])
    assert any(f":{folder}/bin:" in line for line in config["setup_commands"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_all_that_travels_to_the_machines_exists(file):
    mounts = yaml.safe_load(file.read_text())["file_mounts"]
    assert mounts.pop("~/.ray/auth_token") == "~/.ray/auth_token"
    installed_from = {"pyproject.toml", "uv.lock", "horovod_headers", "Makefile", "scripts"}
    assert installed_from <= set(mounts.values())
    for remote, local in mounts.items():
        assert (ROOT / local).exists(), local
        assert Path(remote) == Path("~/ucluster-tune") / local


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_commands_are_faultless_bash(file, tmp_path):
    for number, command in enumerate(commands_of(yaml.safe_load(file.read_text()))):
        script = tmp_path / f"{number}.sh"
        script.write_text(f"#!/bin/bash\n{command}\n")
        # SC2016: the environment file is to hold $HOME and $PATH as they are written;
        # SC2086: Ray writes its own variable so, and it is an address.
        ignored = "--exclude=SC2016,SC2086"
        done = subprocess.run(
            ["shellcheck", ignored, script], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_login_shells_get_the_environment_once(file, tmp_path):
    commands = yaml.safe_load(file.read_text())["setup_commands"]
    chosen = [command for command in commands if "ucluster_tune_environment" in command]
    home = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    for command in chosen * 2:  # as `ray up` does when it is typed again
        subprocess.run(["bash", "-c", command], env=home, check=True)
    shown = subprocess.run(
        ["bash", "--login", "-ic", "source ~/.bashrc; env"],
        env=home,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    environment = dict(line.split("=", 1) for line in shown if "=" in line)
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5000"
    studies, datasets = (environment[f"UCLUSTER_TUNE_{name}"] for name in ("STUDIES", "DATASETS"))
    assert studies.startswith(("s3://", "/shared/"))
    assert datasets == studies.replace("/studies", "/datasets")  # all machines see both
    assert environment["PATH"].split(":")[0] == f"{tmp_path}/ucluster-tune/.venv/bin"
    assert (tmp_path / ".bashrc").read_text().count("ucluster_tune_environment") == 1


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_services_listen_on_the_loopback(file):
    config = yaml.safe_load(file.read_text())
    assert "0.0.0.0" not in "".join(commands_of(config))
    (head,) = [line for line in config["head_start_ray_commands"] if "ray start" in line]
    assert "--dashboard-host=127.0.0.1" in head
    assert "--host 127.0.0.1" in (ROOT / "scripts" / "mlflow_server.sh").read_text()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_machine_reports_its_use_to_rays_makers(file):
    """`ray up` sets RAY_USAGE_STATS_ENABLED as the laptop has it, after the machine's own."""
    starts = [
        line for line in commands_of(yaml.safe_load(file.read_text())) if "ray start" in line
    ]
    assert len(starts) == 2
    assert all("--disable-usage-stats" in line for line in starts)


def test_each_line_that_costs_money_or_opens_a_port_says_so():
    lines = AWS.read_text().splitlines()
    costs = (
        r"^\s+(InstanceType|Ebs|MarketType|cache_stopped_nodes): "
        r"|^ *(max_workers: 4|idle_timeout)"
    )
    ports = r"^\s+GroupName: |^ *head_start_ray_commands:"
    for number, line in enumerate(lines):
        above = number
        while above and lines[above - 1].lstrip().startswith("#"):
            above -= 1
        if re.search(costs, line):
            assert "COSTS" in line, line
        if re.search(ports, line):
            assert "PORT" in "".join(lines[above:number]), line


def test_the_bucket_has_to_be_filled_in_and_is_named_once(aws, capsys):
    assert AWS.read_text().count("s3://") == 1
    assert prepare(aws, text=AWS.read_text()) == 1
    assert "fill in the name of your bucket" in capsys.readouterr().err
    assert not boto3.client("s3").list_buckets()["Buckets"]


@pytest.mark.slow
def test_an_account_is_prepared_again_and_again(aws, capsys):
    for _ in range(2):
        assert prepare(aws) == 0
    assert capsys.readouterr().out.endswith(f"Next: ray up {aws}/cluster.yaml\n")
    blocked = boto3.client("s3").get_public_access_block(Bucket=BUCKET)
    assert all(blocked["PublicAccessBlockConfiguration"].values())
    assert (aws / ".ray" / "auth_token").stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_only_ssh_from_the_laboratory_and_the_cluster_itself_come_in(aws):
    assert prepare(aws) == 0
    bootstrap(filled_in())
    rules = set(rules_of(group_named("ucluster-tune")))
    assert {rule for rule in rules if rule[3] != "itself"} == {SSH_FROM_LABORATORY}
    assert [rule[0] for rule in rules if rule[3] == "itself"] == ["-1"]


@pytest.mark.slow
def test_without_preparation_no_machine_starts_and_what_ray_opened_is_closed_later(aws):
    config = bootstrap(filled_in())
    assert SSH_FROM_EVERYWHERE in set(rules_of(group_named("ucluster-tune")))
    named = {
        node_type["node_config"]["IamInstanceProfile"]["Name"]
        for node_type in config["available_node_types"].values()
    }
    assert not boto3.client("iam").list_instance_profiles()["InstanceProfiles"]
    assert named == {"ucluster-tune-head", "ucluster-tune-worker"}
    assert prepare(aws) == 0
    rules = set(rules_of(group_named("ucluster-tune")))
    assert {rule for rule in rules if rule[3] != "itself"} == {SSH_FROM_LABORATORY}


def test_another_place_to_come_from_takes_the_place_of_the_old_ones(aws):
    assert prepare(aws, "--ssh-from", "198.51.100.1/32", "--ssh-from", LABORATORY) == 0
    assert prepare(aws) == 0
    outside = {rule for rule in rules_of(group_named("ucluster-tune")) if rule[3] != "itself"}
    assert outside == {SSH_FROM_LABORATORY}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--ssh-from", "0.0.0.0/0"), "part of the whole world"),
        (("--ssh-from", "2001:db8::1/128"), "not an IPv4 address range"),
        (("--ssh-from", "192.0.2.7/24"), "has host bits set"),
    ],
)
def test_a_wrong_range_of_addresses_is_refused_before_anything_is_made(
    aws, capsys, options, message
):
    assert prepare(aws, *options) == 1
    assert message in capsys.readouterr().err
    assert not boto3.client("s3").list_buckets()["Buckets"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "cannot be read"),
        (ON_PREMISE.read_text(), "not like ray_cluster.yaml, 'available_node_types' is missing"),
        (filled_in().replace("s3://", "/"), "must name one bucket"),
    ],
)
def test_another_file_is_refused_with_what_it_lacks(aws, capsys, text, message):
    assert prepare(aws, text=text) == 1
    assert message in capsys.readouterr().err


def test_an_aws_that_does_not_answer_is_one_line(aws, capsys, monkeypatch):
    def refuse(*_, **__):
        raise EndpointConnectionError(endpoint_url="https://s3.example")

    monkeypatch.setattr(prepare_aws, "prepare", refuse)
    assert prepare(aws) == 1
    assert "Error: AWS: Could not connect" in capsys.readouterr().err


def test_the_roles_reach_the_bucket_and_this_clusters_machines_alone(aws):
    assert prepare(aws) == 0
    iam = boto3.client("iam")
    policies = {
        name: iam.get_role_policy(RoleName=name, PolicyName=name)["PolicyDocument"]["Statement"]
        for name in ("ucluster-tune-head", "ucluster-tune-worker")
    }
    for statement in policies["ucluster-tune-worker"]:
        assert statement["Resource"].startswith(f"arn:aws:s3:::{BUCKET}")
    ending = [s for s in policies["ucluster-tune-head"] if "ec2:TerminateInstances" in s["Action"]]
    assert [s["Condition"] for s in ending] == [
        {"StringEquals": {"aws:ResourceTag/ray-cluster-name": "ucluster-tune"}}
    ]
    (passing,) = [s for s in policies["ucluster-tune-head"] if s["Action"] == "iam:PassRole"]
    assert [arn.rsplit("/", 1)[1] for arn in passing["Resource"]] == ["ucluster-tune-worker"]


@pytest.mark.slow
def test_the_launcher_makes_the_machines_that_the_file_means(aws):
    assert prepare(aws) == 0
    config = bootstrap(filled_in())
    types = config["available_node_types"]
    assert types["gpu_worker"]["resources"]["GPU"] == 1  # looked up by the instance type
    assert types["head"]["resources"] == {"CPU": 0, "GPU": 0}
    provider = _get_node_provider(config["provider"], config["cluster_name"])
    for kind, name in ((NODE_KIND_HEAD, "head"), (NODE_KIND_WORKER, "gpu_worker")):
        node_config = copy.deepcopy(types[name]["node_config"])
        tags = {
            TAG_RAY_NODE_KIND: kind,
            TAG_RAY_USER_NODE_TYPE: name,
            TAG_RAY_LAUNCH_CONFIG: "hash",
            TAG_RAY_NODE_NAME: f"ray-{kind}",
            TAG_RAY_NODE_STATUS: "uninitialized",
        }
        provider.create_node(node_config, tags, 1)
    found = provider.non_terminated_nodes({TAG_RAY_NODE_KIND: NODE_KIND_HEAD})
    (head,) = (boto3.resource("ec2").Instance(node) for node in found)
    (worker,) = (i for i in boto3.resource("ec2").instances.all() if i.id != head.id)
    assert provider.external_ip(head.id) == head.public_ip_address
    assert head.instance_lifecycle is None
    assert worker.instance_lifecycle == "spot"
    assert head.instance_type.startswith("m6i")
    assert worker.instance_type.startswith("g4dn")
    for machine, profile in ((head, "ucluster-tune-head"), (worker, "ucluster-tune-worker")):
        assert machine.iam_instance_profile["Arn"].endswith(f"/{profile}")
        assert [group["GroupName"] for group in machine.security_groups] == ["ucluster-tune"]
        assert machine.metadata_options["HttpTokens"] == "required"
        assert machine.image_id.startswith("resolve:ssm:/aws/service/")
    another = _get_node_provider({**config["provider"]}, "another-cluster")
    assert not another.non_terminated_nodes({TAG_RAY_NODE_KIND: NODE_KIND_HEAD})


def test_without_credentials_nothing_else_is_looked_for(aws, capsys, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert prepare(aws, "--ssh-from", LABORATORY) == 1
    said = capsys.readouterr()
    assert said.err.startswith("Error: no AWS credentials were found")
    assert said.out == ""


@pytest.mark.slow
def test_ray_up_comes_to_the_first_ssh_and_ray_down_leaves_no_machine(
    s3_server, monkeypatch, tmp_path
):
    """The commands themselves, in a home of their own, on an AWS that is a server here."""
    for name in ("HOME", "TMPDIR"):  # where Ray keeps its keys, and what it once found out
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(ROOT)
    called = tmp_path / "called"
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(f'#!/bin/sh\necho "$@" > {called}.new; mv {called}.new {called}; exit 255\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}:{os.environ['PATH']}")
    file = tmp_path / "cluster.yaml"
    file.write_text(filled_in().replace("cache_stopped_nodes: true", "cache_stopped_nodes: false"))
    assert prepare_aws.main([str(file), "--ssh-from", LABORATORY]) == 0
    with (tmp_path / "said").open("w") as said:
        ray_up = subprocess.Popen([RAY, "up", "--yes", file], stdout=said, stderr=said)
    deadline = time.monotonic() + 200
    try:
        while not called.exists():
            assert ray_up.poll() is None, (tmp_path / "said").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        ray_up.kill()
        ray_up.wait()
    (head,) = boto3.resource("ec2").instances.all()
    assert head.state["Name"] == "running"
    assert head.instance_type == "m6i.large"
    assert {tag["Key"]: tag["Value"] for tag in head.tags}["ray-cluster-name"] == "ucluster-tune"
    assert [group["GroupName"] for group in head.security_groups] == ["ucluster-tune"]
    assert f"{head.key_name}.pem" in called.read_text()
    assert f"ubuntu@{head.public_ip_address}" in called.read_text()
    subprocess.run([RAY, "down", "--yes", file], check=True, timeout=200, capture_output=True)
    assert {machine.state["Name"] for machine in boto3.resource("ec2").instances.all()} == {
        "terminated"
    }
