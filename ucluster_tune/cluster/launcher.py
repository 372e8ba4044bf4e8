"""A cluster made with `ray up FILE`: whether its head is up, and commands on it over ssh.

Ray's launcher knows the clouds and the machines by ssh; this asks it where the head is and which
ssh reaches it. Its interfaces below `_private` are used here alone.
"""

import contextlib
import io
import json
import logging
import os
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ucluster_tune.cluster.marked_output import between_marks, marked
from ucluster_tune.errors import ConfigurationError, MachineError

CLUSTER_FILE = "ray_cluster.yaml"  # looked for in the working directory
_CONNECT_TIMEOUT_S = 15
_PROBE_TIMEOUT_S = 3.0
_QUICK_COMMAND_TIMEOUT_S = 60.0
_TUNNEL_TIMEOUT_S = 30.0
_SSH_FAILED = 255
_DASHBOARD_PORT = 8265
_NO_CREDENTIALS = "there are no AWS credentials here (`aws configure` makes them)"
_VENDOR = Path("/sys/devices/virtual/dmi/id/sys_vendor")


class NotUpError(MachineError):
    """The cluster that a file describes has no head that could be used."""


@dataclass(frozen=True)
class Head:
    """The head of a cluster that is up.

    Attributes:
        file: that describes the cluster.
        cluster: its name.
        host: of the head, as ssh reaches it.
        ssh: the command that reaches it, up to and with its address.
        container: that Ray runs in, None where it runs on the host itself.
        dashboard_port: of Ray's Jobs interface, on the head's loopback.
    """

    file: Path
    cluster: str
    host: str
    ssh: tuple[str, ...]
    container: str | None
    dashboard_port: int

    def command(self, words: Sequence[str], *, terminal: bool = False) -> list[str]:
        """Return the local command that runs `words` there, in the login environment of `ray up`.

        Args:
            words: the command and its arguments.
            terminal: give it a terminal; it is told then when this one is closed.
        """
        kind = "-tt" if terminal else "-T"
        return [self.ssh[0], kind, *self.ssh[1:], self._remote(words, terminal)]

    def _remote(self, words: Sequence[str], terminal: bool) -> str:
        """Return what the shell on the head is told.

        As Ray's launcher runs its commands: a login shell that believes to be interactive, since
        many a ~/.bashrc does nothing otherwise. What that shell says about its missing terminal
        goes nowhere, nor does what a profile prints; descriptors 3 and 4 are the command's own
        standard error and output.
        """
        inner = (
            "exec 2>&3 3>&-; source ~/.bashrc > /dev/null;"
            f" exec >&4 4>&-; exec {shlex.join(words)}"
        )
        shell = f"bash --login -i -c {shlex.quote(inner)} 3>&2 2> /dev/null 4>&1 > /dev/null"
        if self.container is None:
            return f"exec {shell}"
        flags = "-it" if terminal else "-i"
        return f"exec docker exec {flags} {self.container} bash -c {shlex.quote(shell)}"

    def run(self, words: Sequence[str], *, terminal: bool = False) -> int:
        """Run a command there, on this process's input and output; return its exit code.

        Raises:
            MachineError: the head does not answer.
        """
        code = subprocess.call(self.command(words, terminal=terminal))
        self._refuse_broken(code, "")
        return code

    def output(self, words: Sequence[str], timeout_s: float = _QUICK_COMMAND_TIMEOUT_S) -> str:
        """Return what a command prints there, without what the login prints around it.

        Raises:
            MachineError: it failed, or took longer than the limit.
        """
        try:
            done = subprocess.run(
                self.command(marked(words)),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise MachineError(
                f"`{shlex.join(words)}` on {self.host} gave no answer within {timeout_s:g} s"
            ) from None
        self._refuse_broken(done.returncode, done.stderr)
        if done.returncode:
            raise MachineError(
                f"`{shlex.join(words)}` on {self.host} failed: {_last_line(done.stderr)}"
            )
        output = between_marks(done.stdout)
        if output is None:
            raise MachineError(
                f"`{shlex.join(words)}` did not run on {self.host}, which said:"
                f" {_last_line(done.stderr or done.stdout)}; look at what `ray exec {self.file}"
                " date` prints"
            )
        return output

    def document(self, words: Sequence[str]) -> Any:
        """Return the JSON document that a command prints there.

        Raises:
            MachineError: it failed, took longer than the limit, or printed something else.
        """
        output = self.output(words)
        try:
            return json.loads(output)
        except ValueError as error:
            raise MachineError(
                f"`{shlex.join(words)}` on {self.host} printed no JSON document ({error}):"
                f" {' '.join(output.split())[:200]!r}; is the program there of another version?"
            ) from error

    @contextmanager
    def tunnel(self, target: str, port: int | None = None) -> Iterator["Tunnel"]:
        """Bring host:port, as the head sees it, to a port of this machine's loopback.

        Args:
            target: host:port.
            port: of this machine; None for a free one.
        """
        tunnel = Tunnel(self, target, port or free_port())
        try:
            tunnel.open()
            yield tunnel
        finally:
            tunnel.close()

    def _refuse_broken(self, code: int, words: str) -> None:
        if code == _SSH_FAILED:
            reason = f": {_last_line(words)}" if words.strip() else ""
            raise MachineError(
                f"the connection to {self.host}, the head of cluster {self.cluster}, broke or was"
                f" refused{reason}; what runs there goes on"
            )


class Tunnel:
    """A port of this machine's loopback that leads to the head, or to what the head sees.

    Attributes:
        port: of this machine.
    """

    def __init__(self, head: Head, target: str, port: int) -> None:
        self.port = port
        self._command = [
            head.ssh[0], "-N", "-T",
            "-o", "ControlMaster=no", "-o", "ControlPath=none",  # it ends with this process alone
            "-o", "BatchMode=yes",
            "-L", f"127.0.0.1:{self.port}:{target}",
            *head.ssh[1:],
        ]  # fmt: skip
        self._what = f"{target} of {head.host}, the head of cluster {head.cluster}"
        self._process: subprocess.Popen[str] | None = None

    def open(self) -> None:
        """Open it, again where it broke.

        Raises:
            MachineError: it cannot be opened within the limit.
        """
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for this process, which closes it in its order
            text=True,
        )
        deadline = time.monotonic() + _TUNNEL_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                words = self._process.communicate()[1]
                raise MachineError(f"no tunnel to {self._what}: {_last_line(words)}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.05)
        raise MachineError(f"no tunnel to {self._what} within {_TUNNEL_TIMEOUT_S:g} s")

    def wait(self) -> None:
        """Return never but by an error: MachineError once it broke."""
        assert self._process is not None
        words = self._process.communicate()[1]
        raise MachineError(f"the tunnel to {self._what} broke: {_last_line(words)}")

    def close(self) -> None:
        """Close it."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def find_head(file: Path) -> Head:
    """Return the head of the cluster that `file` describes.

    Raises:
        ConfigurationError: the file is not one of Ray's launcher.
        NotUpError: the cluster is not up, or cannot be looked for.
    """
    config = _read(file)
    _refuse_down(file, config)
    show_token()
    from ray.autoscaler._private import commands, providers  # noqa: PLC0415  # after the checks

    logging.getLogger("ray.autoscaler").setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            config = commands._bootstrap_config(config)
            provider = providers._get_node_provider(
                config["provider"], config["cluster_name"], use_cache=False
            )
            if config["provider"]["type"] == "local":  # another laptop may have typed `ray up`
                node = config["provider"]["head_ip"]
            else:
                node = commands._get_running_head_node(config, str(file), None, _provider=provider)
            runner = provider.get_command_runner(
                log_prefix="",
                node_id=node,
                auth_config=config["auth"],
                cluster_name=config["cluster_name"],
                process_runner=subprocess,
                use_internal_ip=bool(config["provider"].get("use_internal_ips", False)),
                docker_config=config.get("docker"),
            )
            over_ssh = getattr(runner, "ssh_command_runner", runner)
            host = over_ssh._get_ssh_target()
            options = over_ssh.ssh_options.to_ssh_options_list(timeout=_CONNECT_TIMEOUT_S)
    except Exception as error:  # what clouds raise, and what the launcher makes of it
        raise NotUpError(
            f"{file}: the head of cluster {config['cluster_name']} was not found:"
            f" {_brief(error)}; start it with `ray up {file}`"
        ) from error
    head = Head(
        file=file,
        cluster=config["cluster_name"],
        host=host,
        ssh=("ssh", *options, "-o", "LogLevel=ERROR", f"{over_ssh.ssh_user}@{host}"),
        container=getattr(runner, "container_name", None),
        dashboard_port=_dashboard_port(config),
    )
    _refuse_without_ray(head)
    return head


def show_token() -> None:
    """Have Ray send this machine's token, where there is one; called before Ray is imported."""
    if (Path.home() / ".ray" / "auth_token").exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def free_port() -> int:
    """Return a port of the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _read(file: Path) -> dict[str, Any]:
    """Return the file as Ray's launcher reads it: its cache is keyed by what it read."""
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(str(file), ["there is no such file"]) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(str(file), [f"cannot be read: {_brief(error)}"]) from error
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
        raise NotUpError(f"{file}: cluster {config['cluster_name']} is not up: {reason}")


def _why_no_head_on_aws(config: Mapping[str, Any]) -> str | None:
    if not _may_have_aws_credentials():
        return _NO_CREDENTIALS
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

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
        return f"AWS did not answer: {_brief(error)}"
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
            ["sh", "-c", "grep -qsx gcs_server /proc/[0-9]*/comm && echo runs || echo is down"]
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


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _last_line(words: str) -> str:
    lines = [line for line in words.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
