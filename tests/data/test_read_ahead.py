"""A thread makes items ahead, few of them; it always ends, and what ends it is told."""

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from ucluster_tune.data.feeding.read_ahead import ReadAhead
from ucluster_tune.errors import DataError, UnreachableError

SOON_S = 5.0


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + SOON_S
    while (left := set(threading.enumerate()) - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not left


def counting(n_items, made=None, error=None):
    """Makes numbers; tells how many, and that it was ended properly."""

    def make(progress):
        try:
            for number in range(n_items):
                if made is not None:
                    made.append(number)
                yield number
            if error is not None:
                raise error
        finally:
            if made is not None:
                made.append("closed")

    return make


def wait_until(condition):
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_items_come_in_order_and_all():
    with ReadAhead(counting(50), 3, "numbers") as numbers:
        assert list(numbers) == list(range(50))


@pytest.mark.parametrize("n_ahead", [1, 3])
def test_items_are_made_ahead_but_only_so_many(n_ahead):
    made: list[Any] = []
    with ReadAhead(counting(50, made), n_ahead, "numbers") as numbers:
        wait_until(lambda: len(made) == n_ahead + 1)
        time.sleep(0.05)
        assert len(made) == n_ahead + 1, "those that wait, and the one in hand"
        for n_taken in range(1, 20):
            next(numbers)
            assert len(made) <= n_taken + n_ahead + 1


def test_an_error_is_raised_where_items_are_taken_after_those_made_before():
    error = DataError("train-00000.parquet: missing")
    with ReadAhead(counting(4, error=error), 2, "numbers") as numbers:
        assert [next(numbers) for _ in range(4)] == [0, 1, 2, 3]
        with pytest.raises(DataError, match=r"train-00000\.parquet: missing"):
            next(numbers)


def test_an_error_before_the_first_item_is_told():
    def fail(progress):
        raise DataError("no such file")

    with (
        pytest.raises(DataError, match="no such file"),
        ReadAhead(fail, 2, "numbers") as numbers,
    ):
        next(numbers)


def test_taking_no_more_ends_the_thread_and_its_source():
    made: list[Any] = []
    with ReadAhead(counting(1000, made), 2, "numbers") as numbers:
        assert next(numbers) == 0
    assert made[-1] == "closed"
    assert len(made) < 10


def test_an_error_of_the_taker_ends_the_thread_and_stays_itself():
    made: list[Any] = []
    with (
        pytest.raises(ZeroDivisionError),
        ReadAhead(counting(1000, made), 2, "numbers") as numbers,
    ):
        next(numbers)
        raise ZeroDivisionError
    assert made[-1] == "closed"


def test_a_source_that_waits_is_woken_to_end():
    def patient(progress):
        progress.pause(1000)
        yield 0

    started = time.monotonic()
    with ReadAhead(patient, 1, "numbers"):
        pass
    assert time.monotonic() - started < SOON_S


def test_silence_comes_to_a_limit():
    released = threading.Event()

    def silent(progress):
        released.wait(SOON_S)
        yield 0

    with (
        pytest.raises(UnreachableError, match=r"waited 0\.2 s for train jets of s3://jets/wzt,"),
        ReadAhead(silent, 1, "train jets of s3://jets/wzt", silence_limit_s=0.2) as items,
    ):
        try:
            next(items)
        finally:
            released.set()


def test_signs_of_life_put_the_limit_off():
    def slow(progress):
        for _ in range(10):
            progress.pause(0.1)
        yield 0

    with ReadAhead(slow, 1, "numbers", silence_limit_s=0.7) as numbers:
        assert list(numbers) == [0]


def test_a_slow_taker_is_no_silence(monkeypatch):
    now_s = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now_s[0])
    monkeypatch.setattr("ucluster_tune.data.feeding.read_ahead.time", clock)

    is_there = threading.Event()

    def late(progress):
        yield 0
        yield 1
        is_there.set()
        time.sleep(0.05)  # nothing tells that the taker waits; without that the test is easier
        yield 2

    with ReadAhead(late, 1, "numbers", silence_limit_s=5.0) as numbers:
        assert next(numbers) == 0
        assert is_there.wait(SOON_S)
        now_s[0] += 10.0
        assert list(numbers) == [1, 2]


def test_the_thread_ends_after_whoever_took_items_is_gone(monkeypatch):
    monkeypatch.setattr("ucluster_tune.data.feeding.read_ahead._LOOK_AGAIN_S", 0.02)
    made: list[Any] = []

    def take_one_and_vanish():
        next(ReadAhead(counting(1000, made), 2, "numbers").__enter__())

    taker = threading.Thread(target=take_one_and_vanish)
    taker.start()
    taker.join()
    wait_until(lambda: made[-1] == "closed")
    assert len(made) < 10
