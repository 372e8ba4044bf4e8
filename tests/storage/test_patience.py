"""What is away is asked again, and what hangs is not waited for beyond its limit."""

import threading

import pytest

from ucluster_tune.storage import patience
from ucluster_tune.storage.patience import Follower, Patience, begin, is_done, wait_until


class Clock:
    """Time that passes by pauses alone."""

    def __init__(self):
        self.now_s, self.pauses_s = 0.0, []

    def monotonic(self):
        return self.now_s

    def sleep(self, seconds):
        self.pauses_s.append(seconds)
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(patience, "time", clock)
    return clock


def test_pauses_double_up_to_the_longest_and_end_before_the_limit(clock):
    waiting = Patience(limit_s=20, pause_s=1, longest_pause_s=4, sleep=clock.sleep)
    while waiting.allows_another_try(OSError("away")):
        pass
    assert clock.pauses_s == [1, 2, 4, 4, 4, 4]


def test_an_answer_starts_the_patience_anew(clock):
    waiting = Patience(limit_s=4, pause_s=1, longest_pause_s=4, sleep=clock.sleep)
    assert waiting.allows_another_try(OSError("away"))
    clock.now_s = 100
    assert not waiting.allows_another_try(OSError("away"))
    waiting.renew()
    assert waiting.allows_another_try(OSError("away"))
    assert clock.pauses_s == [1, 1]


def test_no_patience_is_no_second_try(clock):
    assert not Patience(0, 1, 1, clock.sleep).allows_another_try(OSError("away"))
    assert clock.pauses_s == []


def test_what_comes_to_be_is_waited_for_and_what_does_not_is_given_up(clock):
    assert wait_until(lambda: clock.now_s >= 3, limit_s=5, every_s=1)
    assert not wait_until(lambda: clock.now_s >= 9, limit_s=5, every_s=1)
    assert clock.now_s == 8


def test_a_thread_gives_back_its_result_or_its_error():
    assert begin(lambda: 7, "seven").result(10) == 7
    with pytest.raises(ZeroDivisionError):
        begin(lambda: 1 / 0, "none").result(10)


def test_a_thread_that_hangs_is_told_from_one_that_is_done():
    go_on = threading.Event()
    hanging = begin(go_on.wait, "hang")
    assert not is_done(hanging, 0.01)
    go_on.set()
    assert is_done(hanging, 10)


class Sender:
    """Sends numbers, in a thread; fails while it is told to."""

    def __init__(self):
        self.left: list[int] = []
        self.sent: list[int] = []
        self.errors: list[str] = []
        self.is_away, self.has_failed = threading.Event(), threading.Event()
        self.follower = Follower(
            "send", self.send, lambda: bool(self.left), self.failed,
            pause_s=0.01, longest_pause_s=0.02,
        )  # fmt: skip

    def add(self, number):
        with self.follower.condition:
            self.left.append(number)
        self.follower.wake()

    def send(self):
        if self.is_away.is_set():
            raise OSError("away")
        with self.follower.condition:
            self.sent.append(self.left.pop(0))

    def failed(self, error):
        self.errors.append(str(error))
        self.has_failed.set()


def test_a_follower_sends_later_what_it_could_not_send_before():
    sender = Sender()
    sender.is_away.set()
    sender.add(1)
    assert sender.has_failed.wait(10)
    sender.add(2)
    sender.is_away.clear()
    assert sender.follower.close(10)
    assert sender.sent == [1, 2]
    assert set(sender.errors) == {"away"}


def test_a_follower_that_closes_gives_up_after_a_few_tries():
    sender = Sender()
    sender.is_away.set()
    sender.add(1)
    assert not sender.follower.close(10)
    assert sender.left == [1]
    assert len(sender.errors) >= 3


def test_closing_says_no_where_the_work_hangs():
    go_on = threading.Event()

    def hang():
        go_on.wait()

    follower = Follower(
        "hang", hang, lambda: not go_on.is_set(), print, pause_s=0.01, longest_pause_s=0.02
    )
    follower.wake()
    assert not follower.close(0.05)
    go_on.set()
    assert follower.close(10)
