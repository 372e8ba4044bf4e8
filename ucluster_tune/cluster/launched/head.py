"""The head of a cluster that is up: commands on it, and tunnels to it, over ssh.

Knows nothing of Ray's launcher: how the head is reached is told to it.
"""

import contextlib
import json
import shlex
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ucluster_tune.errors import MachineError
from ucluster_tune.storage.patience import wait_until

_QUICK_COMMAND_TIMEOUT_S = 60.0
_TUNNEL_TIMEOUT_S = 30.0
_SSH_FAILED = 255
# A login may print a greeting before a command, and something at its end, on the same output.
_BEGIN = "--- output of ucluster-tune begins ---"
_END = "--- output of ucluster-tune ends ---"
_MARKED = f'printf "\\n%s\\n" "{_BEGIN}"; "$@"; code=$?; printf "\\n%s\\n" "{_END}"; exit $code'


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
                self.command(["sh", "-c", _MARKED, "sh", *words]),
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
        _, begin, rest = done.stdout.partition(f"\n{_BEGIN}\n")
        output, end, _ = rest.rpartition(f"\n{_END}\n")
        if not (begin and end):
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
        if not wait_until(self._is_open, _TUNNEL_TIMEOUT_S, 0.05):
            raise MachineError(f"no tunnel to {self._what} within {_TUNNEL_TIMEOUT_S:g} s")

    def _is_open(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            words = self._process.communicate()[1]
            raise MachineError(f"no tunnel to {self._what}: {_last_line(words)}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False

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


def free_port() -> int:
    """Return a port of the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def in_brief(error: BaseException) -> str:
    """Return an error's message on one line of at most 300 characters, or its kind."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _last_line(words: str) -> str:
    lines = [line for line in words.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
