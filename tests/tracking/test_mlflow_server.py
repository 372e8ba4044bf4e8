import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from ucluster_tune.errors import MachineError
from ucluster_tune.tracking.mlflow import server as tracking_server
from ucluster_tune.tracking.mlflow.server import MlflowServer, choose_port


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


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIG_DFL)
    except ProcessLookupError:
        return False
    return "zombie" not in Path(f"/proc/{pid}/status").read_text()
