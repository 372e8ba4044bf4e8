"""Ctrl-C while Ray starts on this machine."""

import signal

import pytest

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


@pytest.fixture
def calls(ray_that_starts, monkeypatch):
    ray_that_starts("pass")
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


def test_a_start_that_fails_is_told(calls, ray_that_starts):
    ray_that_starts("raise RuntimeError('no room')")
    refusal = pytest.raises(MachineError, match=r"Ray did not start on this machine: .*no room")
    with refusal, embedded_ray(1):
        pytest.fail("nothing is to run on it")
    assert calls.all == ["shut down"]


def test_a_start_that_fails_on_a_busy_machine_is_told_as_that(ray_that_starts, monkeypatch):
    ray_that_starts("raise RuntimeError('The current node timed out')")
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    for load, told in ((1.0, r"in \S+$"), (18.2, r"18 processes want this machine's 2 CPUs: try")):
        monkeypatch.setattr("os.getloadavg", lambda load=load: (load, 0.0, 0.0))
        with pytest.raises(MachineError, match=told), embedded_ray(1):
            pytest.fail("nothing is to run on it")
