"""Ctrl-C while Ray starts on this machine."""

import os
import signal

import psutil
import pytest

from tests.small_study import is_alive
from ucluster_tune.cluster.embedded import embedded_ray
from ucluster_tune.errors import MachineError


class Calls:
    """What Ray was asked, while Ctrl-C is typed as often as `presses` says amid its start."""

    def __init__(self) -> None:
        self.presses = 1
        self.all: list[str] = []

    def init(self, **_options: object) -> None:
        self.all.append("joining begins")
        for _ in range(self.presses):
            signal.raise_signal(signal.SIGINT)
        self.all.append("joining is done")


RAY = """
from types import SimpleNamespace
def init(**options):
    {init}
def get_runtime_context():
    return SimpleNamespace(gcs_address="127.0.0.1:1")
def shutdown():
    pass
"""


@pytest.fixture
def owners_ray(tmp_path, monkeypatch):
    """The Ray of the process that owns it, which starts nothing."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    file = tmp_path / "ray.py"
    file.write_text(RAY.format(init="pass"))
    return file


@pytest.fixture
def calls(owners_ray, monkeypatch):
    calls = Calls()
    monkeypatch.setattr("ray.init", calls.init)
    monkeypatch.setattr("ray.shutdown", lambda: calls.all.append("shut down"))
    return calls


def test_ctrl_c_waits_until_ray_can_be_ended(calls):
    with pytest.raises(KeyboardInterrupt), embedded_ray(1):
        pytest.fail("nothing is to run on it")
    assert calls.all == ["joining begins", "joining is done", "shut down"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_does_not_wait(calls):
    calls.presses = 2
    with pytest.raises(KeyboardInterrupt), embedded_ray(1):
        pytest.fail("nothing is to run on it")
    assert calls.all == ["joining begins", "shut down"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_start_that_fails_is_told(calls, owners_ray):
    owners_ray.write_text(RAY.format(init="raise RuntimeError('no room')"))
    refusal = pytest.raises(MachineError, match=r"Ray did not start on this machine: .*no room")
    with refusal, embedded_ray(1):
        pytest.fail("nothing is to run on it")
    assert calls.all == ["shut down"]


def test_all_that_ray_started_ends_with_it_even_what_lost_its_parent(owners_ray, calls, tmp_path):
    """The child of a child that has ended, as Ray's agents and workers may become."""
    calls.presses = 0
    start = "sleep 1000 & echo $! > {}; sleep 1000 &".format(tmp_path / "orphan")
    owners_ray.write_text(
        RAY.format(init=f"import subprocess; subprocess.run({start!r}, shell=True)")
    )
    with embedded_ray(1):
        orphan = psutil.Process(int((tmp_path / "orphan").read_text()))
    assert not is_alive(orphan)
