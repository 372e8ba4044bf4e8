import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from ucluster_tune.errors import MachineError
from ucluster_tune.tracking.mlflow import server as tracking_server
from ucluster_tune.tracking.mlflow.server import (
    MlflowServer,
    address_without_assistant,
    choose_port,
)


def fake_mlflow(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> MlflowServer:
    """A server whose Python is a shell script."""
    python = folder / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    return MlflowServer("sqlite:////runs.db", "file:///artifacts", "127.0.0.1", 1)


def test_a_taken_port_is_passed_over_or_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(MachineError, match=rf"port {port} .*already in use.*--port"):
            choose_port("127.0.0.1", port)
    assert choose_port("127.0.0.1", port) == port
    first = choose_port("127.0.0.1", None)
    with socket.create_server(("127.0.0.1", first)):
        assert choose_port("127.0.0.1", None) > first


def test_a_server_that_dies_at_the_start_leaves_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "echo the store is of a newer MLflow >&2; exit 3"
    with (
        pytest.raises(MachineError, match="ended with 3: the store is of a newer MLflow"),
        fake_mlflow(tmp_path, monkeypatch, script) as server,
    ):
        server.wait_until_it_answers(10)


def test_a_server_that_never_answers_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        pytest.raises(MachineError, match=r"does not answer at http://127.0.0.1:1 after 0\.5 s"),
        fake_mlflow(tmp_path, monkeypatch, "sleep 60") as server,
    ):
        server.wait_until_it_answers(0.5)


def test_nothing_of_a_server_that_ignores_sigterm_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking_server, "STOP_TIMEOUT_S", 0.5)
    pids = tmp_path / "pids"
    script = f"trap '' TERM; sleep 60 & echo $$ $! > {pids}; wait"
    with fake_mlflow(tmp_path, monkeypatch, script):
        deadline = time.monotonic() + 10
        while not (pids.exists() and pids.read_text().strip()) and time.monotonic() < deadline:
            time.sleep(0.05)
    time.sleep(0.2)
    for pid in map(int, pids.read_text().split()):
        assert not _is_running(pid)


def search_runs(address: str, name: str) -> int:
    """Ask for runs as a page at that name does, and return the status of the answer."""
    asked = urllib.request.Request(
        f"{address}/ajax-api/2.0/mlflow/runs/search",
        data=b'{"experiment_ids": ["0"]}',
        headers={"Host": name, "Origin": f"http://{name}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@pytest.mark.slow
def test_pages_under_all_names_of_the_server_get_their_runs_and_no_others(tmp_path: Path) -> None:
    host = "127.0.0.2"  # on loopback, but no name that MLflow knows for it
    port = choose_port(host, None)
    artifacts = (tmp_path / "artifacts").as_uri()
    with MlflowServer(f"sqlite:///{tmp_path}/runs.db", artifacts, host, port) as server:
        server.wait_until_it_answers()
        own = (f"{host}:{port}", f"{socket.gethostname()}:{port}")
        for name in (*own, "127.0.0.1:8080", "localhost:8080", "[::1]:80", "mlflow.localhost:80"):
            assert search_runs(server.address, name) == 200, name
        for name in (f"evil.example:{port}", f"{host}:{port + 1}", "localhost.evil.example:80"):
            assert search_runs(server.address, name) == 403, name
        with urllib.request.urlopen(
            f"{server.address}/ajax-api/3.0/mlflow/server-info", timeout=60
        ) as answer:
            assert '"gateway":false' in answer.read().decode().replace(" ", "")


@contextmanager
def server_that_answers(status: int, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """The address of a server that answers all with this status where asked by its local name."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            name = f"mlflow.localhost:{self.connection.getsockname()[1]}"
            is_named = (self.headers["Host"], self.headers["Origin"]) == (name, f"http://{name}")
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status if is_named else 400)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    class Server(HTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    with Server((host, port), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{server.server_address[1]}"
        server.shutdown()


def test_a_server_that_knows_the_name_without_the_assistant_is_shown_under_it() -> None:
    with server_that_answers(200) as address:
        port = int(address.rpartition(":")[2])
        assert address_without_assistant(address) == f"http://mlflow.localhost:{port}"
        with server_that_answers(200, "::1", port):  # which a browser may take for it
            assert address_without_assistant(address) is None
    with server_that_answers(403) as address:
        assert address_without_assistant(address) is None
    for elsewhere in ("https://127.0.0.1:1", "http://10.1.2.3:5000", "http://127.0.0.1:1"):
        assert address_without_assistant(elsewhere) is None


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIG_DFL)
    except ProcessLookupError:
        return False
    return "zombie" not in Path(f"/proc/{pid}/status").read_text()
