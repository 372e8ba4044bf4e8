"""Where the head of a cluster is; a script stands for ssh."""

import os
import socket
import time

import pytest
import yaml
from ray.autoscaler import sdk

from tests.cluster.far_head import FarHead
from ucluster_tune.cluster.launched.head import Head
from ucluster_tune.cluster.launched.launcher import NeverStartedError, NotUpError, find_head
from ucluster_tune.errors import ConfigurationError, MachineError

# Ray's launcher leaves files open that it has read.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def lab(tmp_path, monkeypatch):
    return FarHead(tmp_path, monkeypatch)


def test_a_head_whose_machine_does_not_answer_is_not_up(tmp_path, monkeypatch):
    provider = {"type": "local", "head_ip": "127.0.0.2", "worker_ips": []}
    file = tmp_path / "ray_cluster.yaml"
    config = {"cluster_name": "lab", "provider": provider, "auth": {"ssh_user": "me"}}
    file.write_text(yaml.safe_dump(config))

    def refuse(address, timeout):
        assert address == ("127.0.0.2", 22)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(NotUpError, match=r"lab is not up: 127\.0\.0\.2 does not answer by ssh"):
        find_head(file)


def test_a_machine_without_ray_is_not_up(lab, monkeypatch):
    tools = lab.folder / "bin"
    (tools / "grep").write_text("#!/bin/sh\nexit 1\n")  # finds no process of that name
    (tools / "grep").chmod(0o755)
    with pytest.raises(NotUpError, match=r"no Ray runs on its head 127\.0\.0\.1: `ray up"):
        find_head(lab.file)


@pytest.fixture
def in_a_cloud(tmp_path, monkeypatch):
    """A cluster file of a cloud that is asked by Ray's launcher alone."""
    config = {"provider": {"type": "gcp"}, "auth": {"ssh_user": "me"}, "cluster_name": "lab"}
    file = tmp_path / "ray_cluster.yaml"
    file.write_text(yaml.safe_dump(config))
    monkeypatch.setattr(sdk, "bootstrap_config", lambda config: config)
    return file


def test_a_head_that_the_launcher_does_not_find_is_not_up(in_a_cloud, monkeypatch):
    def find_none(config):
        raise RuntimeError("Head node of cluster (lab) not found!")

    monkeypatch.setattr(sdk, "get_head_node_ip", find_none)
    with pytest.raises(NotUpError, match=r"of cluster lab was not found: .*start it with `ray up"):
        find_head(in_a_cloud)


@pytest.mark.parametrize("function", ["bootstrap_config", "get_head_node_ip"])
def test_a_launcher_that_fails_is_no_head_that_is_not_up(in_a_cloud, monkeypatch, function):
    def fail(config):
        raise TypeError("get_node_provider() takes 3 arguments")

    monkeypatch.setattr(sdk, function, fail)
    with pytest.raises(MachineError, match=r"launcher failed .*: TypeError: get_node_p") as told:
        find_head(in_a_cloud)
    assert not isinstance(told.value, NotUpError)
    assert "ray up" not in str(told.value)


def test_a_head_of_a_cloud_is_reached_as_its_file_says(in_a_cloud, monkeypatch):
    def complete(config):
        auth = config["auth"] | {"ssh_private_key": "/keys/lab.pem", "ssh_proxy_command": "via %h"}
        return config | {"auth": auth, "docker": {"container_name": "ray_nodes"}}

    monkeypatch.setattr(sdk, "bootstrap_config", complete)
    monkeypatch.setattr(sdk, "get_head_node_ip", lambda config: "203.0.113.7")
    monkeypatch.setattr(Head, "output", lambda head, words: "runs\n")
    head = find_head(in_a_cloud)
    assert head.ssh[:3] == ("ssh", "-i", "/keys/lab.pem")
    assert "ProxyCommand=via %h" in head.ssh
    assert head.ssh[-1] == "me@203.0.113.7"
    assert head.container == "ray_nodes"


def test_without_aws_credentials_nothing_is_asked(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "ray_cluster.yaml"
    provider = {"type": "aws", "region": "eu-central-1"}
    file.write_text(
        yaml.safe_dump({"cluster_name": "x", "provider": provider, "auth": {"ssh_user": "ubuntu"}})
    )
    started = time.monotonic()
    with pytest.raises(NeverStartedError, match="no AWS credentials here"):
        find_head(file)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no such file"),
        ("data: {path: x}", "provider: is missing: this is no cluster file"),
        ("{", "cannot be read"),
        ("- 1", "cluster_name: is missing"),
        ("!!python/object:os.system {}", "cannot be read"),
    ],
)
def test_a_file_that_is_none_of_the_launcher_is_refused(tmp_path, text, said):
    file = tmp_path / "other.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        find_head(file)


def test_the_port_of_the_jobs_interface_is_read_from_the_file(tmp_path, monkeypatch):
    start = ["ray stop", "ray start --head --dashboard-port=8300 --port 6379"]
    lab = FarHead(tmp_path, monkeypatch, head_start_ray_commands=start)
    tools = lab.folder / "bin"
    (tools / "grep").write_text("#!/bin/sh\nexit 0\n")
    (tools / "grep").chmod(0o755)
    assert find_head(lab.file).dashboard_port == 8300
