"""Ctrl-C while Ray starts on this machine."""

import signal

import pytest

from ucluster_tune.cluster.embedded import embedded_ray
from ucluster_tune.errors import MachineError


class Calls:
    """What Ray was asked, while Ctrl-C is typed as often as `presses` says amid its start."""

    def __init__(self) -> None:
        self.presses = 1
        self.error: Exception | None = None
        self.all: list[str] = []

    def init(self, **_options: object) -> None:
        self.all.append("start begins")
        for _ in range(self.presses):
            signal.raise_signal(signal.SIGINT)
        if self.error is not None:
            raise self.error
        self.all.append("start is done")


@pytest.fixture
def calls(monkeypatch):
    calls = Calls()
    monkeypatch.setattr("ray.init", calls.init)
    monkeypatch.setattr("ray.shutdown", lambda: calls.all.append("shut down"))
    return calls


def test_ctrl_c_waits_until_ray_can_be_ended(calls):
    with pytest.raises(KeyboardInterrupt), embedded_ray(1):
        pytest.fail("nothing is to run on it")
    assert calls.all == ["start begins", "start is done", "shut down"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_does_not_wait(calls):
    calls.presses = 2
    with pytest.raises(KeyboardInterrupt), embedded_ray(1):
        pytest.fail("nothing is to run on it")
    assert calls.all == ["start begins", "shut down"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_start_that_fails_is_told(calls):
    calls.presses, calls.error = 0, RuntimeError("no room")
    refusal = pytest.raises(MachineError, match="Ray did not start on this machine: no room")
    with refusal, embedded_ray(1):
        pytest.fail("nothing is to run on it")
    assert calls.all == ["start begins"]
