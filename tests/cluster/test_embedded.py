"""Ray on this machine: quiet, on the loopback interface, and gone with this process."""

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.small_study import environment, is_alive
from ucluster_tune.cluster.embedded import prepare_environment

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

SESSION = """
import sys
from ucluster_tune.cluster.embedded import embedded_ray
with embedded_ray(1):
    print("ready", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def running_session():
    """Give a process that holds Ray until it gets a line, and all processes below it."""
    with subprocess.Popen(
        [sys.executable, "-c", SESSION],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) > 4
        try:
            yield process, children
        finally:
            process.kill()
            for child in children:
                if is_alive(child):
                    child.kill()


@pytest.fixture
def session():
    with running_session() as running:
        yield running


def left_over(processes, timeout_s):
    _, alive = psutil.wait_procs([p for p in processes if is_alive(p)], timeout_s)
    return [process for process in alive if is_alive(process)]


def test_session_listens_on_this_machine_alone_and_ends_whole(session):
    process, children = session
    addresses = {
        connection.laddr.ip
        for child in children
        if is_alive(child)
        for connection in child.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert {address.removeprefix("::ffff:") for address in addresses} == {"127.0.0.1"}
    _, stderr = process.communicate("\n", timeout=60)
    assert process.returncode == 0
    assert left_over(children, timeout_s=5) == []
    assert stderr == ""


def test_ray_that_once_ran_here_is_not_joined():
    # A short name: Ray's sockets lie below it, and pytest's folders are too long for them.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:
        (Path(folder) / "ray").mkdir()
        (Path(folder) / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
        result = subprocess.run(
            [sys.executable, "-c", SESSION],
            env=environment() | {"RAY_TMPDIR": folder},
            input="\n",
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert (result.returncode, result.stdout, result.stderr) == (0, "ready\n", "")


def test_nothing_outlives_a_killed_process_and_nobody_elses_ray_is_touched(session):
    process, children = session
    with running_session() as (_, of_another):
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert left_over(children, timeout_s=20) == []
        assert all(is_alive(child) for child in of_another)


def test_settings_of_the_user_win(monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    monkeypatch.delenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", raising=False)
    prepare_environment()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"
    assert os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] == "0"
    monkeypatch.undo()
