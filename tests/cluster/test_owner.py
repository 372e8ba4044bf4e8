"""The process that owns Ray: all below it ends with it, and nothing else; no Ray is started."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.small_study import is_alive
from ucluster_tune.cluster.owner import RayOwner

PACKAGES = Path(__file__).parents[2]
USER = """
import sys
from ucluster_tune.cluster.owner import RayOwner
print(RayOwner({}).address(), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def orphan(tmp_path, ray_that_starts):
    """Tells the process that Ray's start left without a parent, in a session of its own."""
    file = tmp_path / "orphan"
    ray_that_starts(f"import os; os.system('setsid sleep 1000 & echo $! > {file}')")
    return lambda: psutil.Process(int(file.read_text()))


def wait_until_gone(process):
    psutil.wait_procs([process] if is_alive(process) else [], timeout=60)
    assert not is_alive(process)


def test_an_end_in_order_takes_along_what_lost_its_parent(orphan):
    owner = RayOwner({})
    assert owner.address() == "127.0.0.1:1"
    left = orphan()
    assert is_alive(left)
    owner.end()
    assert not is_alive(left)


def test_a_killed_user_takes_it_along_and_nobody_elses_process(orphan):
    with subprocess.Popen(["sleep", "1000"]) as of_another:
        with subprocess.Popen(
            [sys.executable, "-c", USER],
            env=os.environ | {"PYTHONPATH": f"{os.environ['PYTHONPATH']}:{PACKAGES}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as user:
            assert user.stdout is not None
            assert user.stdout.readline() == "127.0.0.1:1\n"
            left = orphan()
            assert is_alive(left)
            user.kill()
        wait_until_gone(left)
        assert of_another.poll() is None
        of_another.kill()


def test_signals_to_all_processes_of_a_search_end_none_of_rays_own(orphan):
    owner = RayOwner({})
    owner.address()
    left = orphan()
    for process in (left, psutil.Process(owner._process.pid)):
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            process.send_signal(number)
    gone, _ = psutil.wait_procs([left, psutil.Process(owner._process.pid)], timeout=0.5)
    assert gone == []
    assert owner.is_whole
    owner.end()
    assert not is_alive(left)


def test_the_end_of_one_of_rays_own_processes_is_seen(orphan):
    owner = RayOwner({})
    owner.address()
    assert owner.is_whole
    orphan().kill()
    deadline = time.monotonic() + 60
    while owner.is_whole:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    owner.end()


def test_a_start_that_fails_is_told_with_its_reason(ray_that_starts):
    ray_that_starts("raise RuntimeError('no room')")
    owner = RayOwner({})
    with pytest.raises(RuntimeError, match="no room"):
        owner.address()
    owner.end()


def test_a_user_who_is_killed_amid_the_start_takes_it_along(tmp_path, ray_that_starts):
    file = tmp_path / "started"
    ray_that_starts(
        f"import os, time; os.system('sleep 1000 & echo $! > {file}'); time.sleep(1000)"
    )
    owner = RayOwner({})
    deadline = time.monotonic() + 60
    while not file.exists() or not file.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    begun = psutil.Process(int(file.read_text()))
    assert owner._process.stdin is not None
    owner._process.stdin.close()  # as the system does for one that is killed
    owner._process.stdin = None
    wait_until_gone(begun)
    assert owner._process.wait(60) == 1
    with pytest.raises(RuntimeError, match="it said nothing"):
        owner.address()
