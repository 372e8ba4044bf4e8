"""MLflow's web interface on a local store, as a child process that ends with its owner.

Knows nothing of studies and does not import MLflow.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from types import TracebackType
from typing import IO
from urllib.parse import urlsplit

from ucluster_tune.errors import MachineError
from ucluster_tune.storage.patience import wait_until
from ucluster_tune.tracking.mlflow.mlflow_internals import NO_GENAI, NO_REPORTS, SERVER_STORE

FIRST_PORT = 5000
N_PORTS_TRIED = 50
START_TIMEOUT_S = 120.0  # 10 to 20 s on two idle cores, longer beside a running search
STOP_TIMEOUT_S = 10.0
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")
# MLflow's assistant opens by itself over a quarter of the first page that is seen at an address of
# LOOPBACK_HOSTS, which no option of its server forbids; under another name there is none.
# Chromium and Firefox send every name below localhost to loopback, and ask no name server.
NAME_WITHOUT_ASSISTANT = "mlflow.localhost"


def choose_port(host: str, wanted: int | None) -> int:
    """Return the wanted port, or from 5000 on the first free one.

    Raises:
        MachineError: the wanted port, or every one tried, is taken, or the host is not here.
    """
    ports = range(FIRST_PORT, FIRST_PORT + N_PORTS_TRIED) if wanted is None else (wanted,)
    for port in ports:
        try:
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
                return port
        except OSError as error:
            reason = error.strerror or str(error)
    tried = f"port {wanted}" if wanted is not None else f"ports {ports[0]} to {ports[-1]}"
    raise MachineError(
        f"{tried} of {host} cannot be used: {reason.lower()};"
        " choose another with --port, or leave it out"
    )


def wait_until_it_answers(
    address: str,
    timeout_s: float = START_TIMEOUT_S,
    refuse_death: Callable[[], None] = lambda: None,
) -> None:
    """Return once MLflow's pages can be opened.

    Args:
        address: of the server, such as http://127.0.0.1:5000.
        timeout_s: limit of the wait.
        refuse_death: raises where the wait would be in vain.

    Raises:
        MachineError: it does not answer within the limit.
    """

    def answers() -> bool:
        refuse_death()
        with suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=5):
            return True
        return False

    if wait_until(answers, timeout_s, every_s=0.2):
        return
    raise MachineError(f"MLflow does not answer at {address} after {timeout_s:g} s")


def address_without_assistant(address: str) -> str | None:
    """Return an address of the same pages that Chromium and Firefox open without the assistant.

    None where the server, which may be another's, refuses that name or is not on loopback, or
    where something else answers at the other loopback address of its port, which a browser may
    prefer.

    Args:
        address: of a server that answers.
    """
    there = urlsplit(address)
    other = {"127.0.0.1": "::1", "::1": "127.0.0.1"}.get(there.hostname or "")
    if there.scheme != "http" or other is None:
        return None
    with suppress(OSError), socket.create_connection((other, there.port or 80), timeout=1):
        return None
    name = f"{NAME_WITHOUT_ASSISTANT}:{there.port or 80}"
    asked = urllib.request.Request(
        f"{address}/ajax-api/2.0/mlflow/runs/search",  # what fills the table of runs
        data=b'{"experiment_ids": []}',
        headers={"Host": name, "Origin": f"http://{name}", "Content-Type": "application/json"},
    )
    with suppress(OSError, HTTPException), urllib.request.urlopen(asked, timeout=30):
        return f"http://{name}"
    return None


class MlflowServer:
    """A running `mlflow server`; leaving the `with` block ends it with all its processes.

    Args:
        backend_uri: of the store: SQLite or another database.
        artifacts: URI of the folder for artifacts that a client sends.
        host: address to listen on.
        port: free port.

    Attributes:
        address: such as http://127.0.0.1:5000.
    """

    def __init__(self, backend_uri: str, artifacts: str, host: str, port: int) -> None:
        self._backend_uri = backend_uri
        self._command = [
            sys.executable, "-m", "mlflow", "server",
            "--artifacts-destination", artifacts,
            "--host", host,
            "--port", str(port),
            "--workers", "1",
            "--uvicorn-opts", "--no-access-log",
        ]  # fmt: skip
        shown = f"[{host}]" if ":" in host else host
        # MLflow refuses pages under names that it was not told, and what these pages ask it. On
        # loopback any port: a tunnel has its own. `[[]` is how a pattern has a bracket.
        names = [f"{name}:*" for name in (*LOOPBACK_HOSTS[:2], "[[]::1]", NAME_WITHOUT_ASSISTANT)]
        if host not in LOOPBACK_HOSTS:
            names += [f"{name}:{port}" for name in (shown, socket.gethostname())]
        origins = [f"http://{name}" for name in names]
        self._command += ["--allowed-hosts", ",".join(names)]
        self._command += ["--cors-allowed-origins", ",".join(origins)]
        self.address = f"http://{shown}:{port}"
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 closed by __exit__
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "MlflowServer":
        environment = {
            **os.environ,
            **NO_REPORTS,
            **NO_GENAI,
            SERVER_STORE: self._backend_uri,
        }
        # A session of its own: Ctrl-C reaches this process alone, which then ends the server.
        self._process = subprocess.Popen(
            self._command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return self

    def wait_until_it_answers(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Return once pages can be opened; MachineError with MLflow's last words otherwise."""
        try:
            wait_until_it_answers(self.address, timeout_s, self._refuse_death)
        except MachineError as error:
            raise MachineError(f"{error}: {self._last_words()}") from error

    def wait(self) -> None:
        """Return never but by a signal; MachineError when the server ends by itself."""
        while True:
            self._refuse_death()
            time.sleep(0.5)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        self._signal_all(signal.SIGTERM)
        try:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT_S)
        finally:  # also when a second Ctrl-C cuts the waiting short
            self._signal_all(signal.SIGKILL)
            self._process.wait(STOP_TIMEOUT_S)
            self._log.close()

    def _signal_all(self, number: int) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _refuse_death(self) -> None:
        assert self._process is not None
        code = self._process.poll()
        if code is not None:
            raise MachineError(f"MLflow's server ended with {code}: {self._last_words()}")

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return "\n".join(lines[-5:]) or "it printed nothing"
