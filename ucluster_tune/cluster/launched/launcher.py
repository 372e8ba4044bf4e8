"""A cluster made with `ray up FILE`: whether its head is up, and how it is reached.

Ray's launcher knows the clouds; this asks it where the head is.
"""

import contextlib
import io
import logging
import os
import shlex
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ucluster_tune.cluster.launched.head import Head, in_brief
from ucluster_tune.errors import ConfigurationError, MachineError
from ucluster_tune.trial.processes.ray_internals import HEAD_PROCESS

CLUSTER_FILE = "ray_cluster.yaml"  # looked for in the working directory
_CONNECT_TIMEOUT_S = 15
_PROBE_TIMEOUT_S = 3.0
_DASHBOARD_PORT = 8265
_NO_CREDENTIALS = "there are no AWS credentials here (`aws configure` makes them)"
_VENDOR = Path("/sys/devices/virtual/dmi/id/sys_vendor")


class NotUpError(MachineError):
    """The cluster that a file describes has no head that could be used."""


class NeverStartedError(NotUpError):
    """Nobody can have started it from here: this machine has nothing to show to its cloud."""


def find_head(file: Path) -> Head:
    """Return the head of the cluster that `file` describes.

    Raises:
        ConfigurationError: the file is not one of Ray's launcher.
        NotUpError: the cluster is not up, or cannot be looked for.
        MachineError: Ray's launcher failed while it looked.
    """
    config = _read(file)
    _refuse_down(file, config)
    config, host = _found(file, config)
    auth = config["auth"]
    head = Head(
        file=file,
        cluster=config["cluster_name"],
        host=host,
        ssh=("ssh", *_ssh_options(auth), f"{auth['ssh_user']}@{host}"),
        container=(config.get("docker") or {}).get("container_name") or None,
        dashboard_port=_dashboard_port(config),
    )
    _refuse_without_ray(head)
    return head


def _found(file: Path, config: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the file as `ray up` completes it, and the address at which ssh reaches the head."""
    show_token()
    from ray.autoscaler import sdk  # after the checks

    logging.getLogger("ray.autoscaler").setLevel(logging.ERROR)
    quiet = io.StringIO()
    name = config["cluster_name"]
    try:
        with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            config = sdk.bootstrap_config(config)
            provider = config["provider"]
            if "head_ip" in provider:  # another laptop may have typed `ray up`
                return config, str(provider.get("external_head_ip") or provider["head_ip"])
            return config, _head_of_cloud(config, file)
    except NotUpError:
        raise
    except Exception as error:  # what clouds raise is of no one kind
        raise MachineError(
            f"{file}: Ray's launcher failed while it looked for the head of cluster {name}:"
            f" {type(error).__name__}: {in_brief(error)}; see what `ray get-head-ip {file}` says,"
            " or use this machine with --local"
        ) from error


def _head_of_cloud(config: dict[str, Any], file: Path) -> str:
    from ray.autoscaler import sdk  # as above

    if config["auth"].get("ssh_proxy_use_node_id"):
        raise NotUpError(
            f"{file}: its head is reached by the name of a node (ssh_proxy_use_node_id), which"
            f" this program cannot; `ray attach {file}`, and type the command there"
        )
    try:
        return str(sdk.get_head_node_ip(config))
    except RuntimeError as error:  # which says that there is none
        raise NotUpError(
            f"{file}: the head of cluster {config['cluster_name']} was not found:"
            f" {in_brief(error)}; start it with `ray up {file}`"
        ) from error


def _ssh_options(auth: Mapping[str, Any]) -> Iterator[str]:
    """Yield options of ssh, those of `ray up`: machines of a cloud come and go with their keys."""
    if auth.get("ssh_private_key"):
        yield from ("-i", str(Path(auth["ssh_private_key"]).expanduser()))
    options = {
        "StrictHostKeyChecking": "no",
        "UserKnownHostsFile": os.devnull,
        "IdentitiesOnly": "yes",
        "ExitOnForwardFailure": "yes",
        "ServerAliveInterval": 5,
        "ServerAliveCountMax": 3,
        "ConnectTimeout": _CONNECT_TIMEOUT_S,
        "ProxyCommand": auth.get("ssh_proxy_command"),
        "LogLevel": "ERROR",
    }
    for name, value in options.items():
        if value is not None:
            yield from ("-o", f"{name}={value}")


def show_token() -> None:
    """Have Ray send this machine's token, where there is one; called before Ray is imported."""
    if (Path.home() / ".ray" / "auth_token").exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _read(file: Path) -> dict[str, Any]:
    """Return the file as Ray's launcher reads it: its cache is keyed by what it read."""
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(str(file), ["there is no such file"]) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(str(file), [f"cannot be read: {in_brief(error)}"]) from error
    missing = [key for key in ("cluster_name", "provider", "auth") if not _has(config, key)]
    if missing:
        raise ConfigurationError(
            str(file),
            [f"{key}: is missing: this is no cluster file of `ray up`" for key in missing],
        )
    return dict(config)


def _has(config: Any, key: str) -> bool:
    return isinstance(config, dict) and bool(config.get(key))


def _refuse_down(file: Path, config: Mapping[str, Any]) -> None:
    """Raise NotUpError where a quick look shows that there is no head.

    The launcher itself tries for minutes without a network, and makes keys and roles in a cloud.
    """
    kind = config["provider"].get("type")
    reason = None
    if kind == "aws":
        reason = _why_no_head_on_aws(config)
    elif kind == "local" and "head_ip" in config["provider"]:
        provider = config["provider"]
        host = str(provider.get("external_head_ip") or provider["head_ip"])
        reason = _why_not_reached(host, 22 if "ssh_proxy_command" not in config["auth"] else None)
    if reason is not None:
        error = NeverStartedError if reason == _NO_CREDENTIALS else NotUpError
        raise error(f"{file}: cluster {config['cluster_name']} is not up: {reason}")


def _why_no_head_on_aws(config: Mapping[str, Any]) -> str | None:
    if not _may_have_aws_credentials():
        return _NO_CREDENTIALS
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    settings = Config(
        connect_timeout=_PROBE_TIMEOUT_S,
        read_timeout=2 * _PROBE_TIMEOUT_S,
        retries={"total_max_attempts": 2},
    )
    try:
        session = boto3.Session()
        if session.get_credentials() is None:
            return _NO_CREDENTIALS
        region = config["provider"].get("region")
        found = session.client("ec2", region_name=region, config=settings).describe_instances(
            Filters=[
                {"Name": "tag:ray-cluster-name", "Values": [config["cluster_name"]]},
                {"Name": "tag:ray-node-type", "Values": ["head"]},
                {"Name": "instance-state-name", "Values": ["running"]},
            ]
        )
    except (BotoCoreError, ClientError, ValueError) as error:
        return f"AWS did not answer: {in_brief(error)}"
    return None if found["Reservations"] else f"no head of that name runs in {region}"


def _may_have_aws_credentials() -> bool:
    """Return whether it is worth to ask: AWS's own search for them takes seconds in vain."""
    files = (
        os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        os.environ.get("AWS_CONFIG_FILE", "~/.aws/config"),
    )
    if any(Path(file).expanduser().exists() for file in files):
        return True
    if any(
        name.startswith(("AWS_ACCESS", "AWS_PROFILE", "AWS_ROLE", "AWS_WEB", "AWS_CONTAINER"))
        for name in os.environ
    ):
        return True
    try:  # a machine of EC2 may have a role of its own
        return "Amazon" in _VENDOR.read_text(encoding="utf-8")
    except OSError:
        return False


def _why_not_reached(host: str, port: int | None) -> str | None:
    if port is None:
        return None
    try:
        with socket.create_connection((host, port), timeout=_PROBE_TIMEOUT_S):
            return None
    except OSError as error:
        return f"{host} does not answer by ssh ({error.strerror or error})"


def _refuse_without_ray(head: Head) -> None:
    """Raise NotUpError where the machine cannot be asked, or no Ray runs on it."""
    try:
        answer = head.output(
            [
                "sh",
                "-c",
                f"grep -qsx {HEAD_PROCESS} /proc/[0-9]*/comm && echo runs || echo is down",
            ]
        )
    except MachineError as error:
        raise NotUpError(f"{head.file}: {error}") from error
    if answer.split()[-1:] != ["runs"]:
        raise NotUpError(
            f"{head.file}: cluster {head.cluster}: no Ray runs on its head {head.host}:"
            f" `ray up {head.file}` starts it"
        )


def _dashboard_port(config: Mapping[str, Any]) -> int:
    words = shlex.split(" ".join(map(str, config.get("head_start_ray_commands") or [])))
    for i, word in enumerate(words):
        name, _, value = word.partition("=")
        if name == "--dashboard-port":
            value = value or (words[i + 1] if i + 1 < len(words) else "")
            if value.isdigit():
                return int(value)
    return _DASHBOARD_PORT
