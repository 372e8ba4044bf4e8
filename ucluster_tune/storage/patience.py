"""Waiting for what is slow, busy or away: until it is there, again and again, or beside the rest.

Threads of this module are daemons: one that hangs in a library does not keep the program alive.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_futures
from typing import Any, Final, TypeVar

Result = TypeVar("Result")
_LOGGER = logging.getLogger(__name__)
_LAST_TRIES: Final = 3
_LAST_PAUSE_S: Final = 1.0


def wait_until(is_over: Callable[[], Any], limit_s: float, every_s: float = 0.1) -> bool:
    """Return whether something came to be within a limit; it is looked at once in any case.

    >>> wait_until(lambda: True, limit_s=0)
    True
    >>> wait_until(lambda: False, limit_s=0)
    False
    """
    deadline = time.monotonic() + limit_s
    while not is_over():
        if time.monotonic() >= deadline:
            return False
        time.sleep(every_s)
    return True


class Patience:
    """How long something that fails is tried again: with pauses that grow, up to a limit.

    Args:
        limit_s: since the first failure after `renew`; 0 for no second try.
        pause_s: after the first failure; doubled after each further one.
        longest_pause_s: what the pauses grow to.
        sleep: waits for so many seconds; less where the wait is of no use any more.
    """

    def __init__(
        self,
        limit_s: float,
        pause_s: float,
        longest_pause_s: float,
        sleep: Callable[[float], Any] = time.sleep,
    ) -> None:
        self.limit_s = limit_s
        self._first_pause_s, self._longest_pause_s = pause_s, longest_pause_s
        self._sleep = sleep
        self.renew()

    def renew(self) -> None:
        """Begin anew: it succeeded."""
        self._failing_since_s: float | None = None
        self._pause_s = self._first_pause_s

    def allows_another_try(self, error: BaseException) -> bool:
        """Pause after a failure, and return True; False, at once, where the limit would pass."""
        now_s = time.monotonic()
        if self._failing_since_s is None:
            self._failing_since_s = now_s
        if now_s + self._pause_s > self._failing_since_s + self.limit_s:
            return False
        _LOGGER.warning("asked again in %g s: %s", self._pause_s, error)
        self._sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, self._longest_pause_s)
        return True


def begin(function: Callable[[], Result], name: str) -> "Future[Result]":
    """Call a function in a thread of its own; return what will have its result or error."""
    future: Future[Result] = Future()

    def work() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001  # raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=work, name=name, daemon=True).start()
    return future


def is_done(future: "Future[Any]", limit_s: float) -> bool:
    """Return whether what was begun ends within a limit, well or not."""
    return bool(wait_for_futures([future], limit_s).done)


class Follower:
    """A thread that does what there is to do, and tries again later what failed.

    Args:
        name: of the thread.
        work: does a part of it; an error leaves the part undone.
        has_work: whether there is any; asked while `condition` is held.
        failed: is told each error; called in the thread.
        pause_s: after a failure; doubled after each further one.
        longest_pause_s: what the pauses grow to.

    Attributes:
        condition: to be held by who changes what there is to do.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], None],
        has_work: Callable[[], bool],
        failed: Callable[[Exception], None],
        *,
        pause_s: float,
        longest_pause_s: float,
    ) -> None:
        self.condition = threading.Condition()
        self._work, self._has_work, self._failed = work, has_work, failed
        self._pause_s, self._longest_pause_s = pause_s, longest_pause_s
        self._is_closing = False
        self._thread = threading.Thread(target=self._follow, name=name, daemon=True)

    def wake(self) -> None:
        """Have it look for work; the first call starts the thread."""
        with self.condition:
            self.condition.notify()
            if self._thread.ident is None:
                self._thread.start()

    def close(self, timeout_s: float) -> bool:
        """Have what is left done, tried a few times where it fails; return whether it was."""
        with self.condition:
            self._is_closing = True
        self.wake()
        self._thread.join(timeout_s)
        with self.condition:
            return not self._thread.is_alive() and not self._has_work()

    def _follow(self) -> None:
        pause_s, n_last_failures = self._pause_s, 0
        while True:
            with self.condition:
                self.condition.wait_for(lambda: self._is_closing or self._has_work())
                if not self._has_work():
                    return
            try:
                self._work()
                pause_s, n_last_failures = self._pause_s, 0
                continue
            except Exception as error:  # noqa: BLE001  # whatever a library raises
                self._failed(error)
            with self.condition:
                n_last_failures += self._is_closing
                if n_last_failures >= _LAST_TRIES:
                    return
                if self._is_closing:
                    self.condition.wait(min(pause_s, _LAST_PAUSE_S))
                elif not self.condition.wait_for(lambda: self._is_closing, pause_s):
                    pause_s = min(2 * pause_s, self._longest_pause_s)
