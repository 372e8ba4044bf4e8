"""Makes items in a thread of its own, ahead of whoever takes them, and only a few of them.

The thread ends with its block, whatever ends that; its errors are raised where items are taken;
and whoever waits for an item does so only as long as the thread shows that it gets on.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from types import TracebackType
from typing import Final, Generic, Protocol, TypeVar

from ucluster_tune.errors import UnreachableError

Item = TypeVar("Item")

_LOGGER = logging.getLogger(__name__)
_LOOK_AGAIN_S: Final = 1.0
_SILENCE_LIMIT_S: Final = 900.0  # far beyond what one request to a storage may take
_END_LIMIT_S: Final = 20.0


class NotWantedError(Exception):
    """Ends the work of a thread that nobody takes items from any more; never seen outside."""


class Progress(Protocol):
    """How the maker of items shows that it gets on, and hears that it is to end."""

    def go_on(self) -> None:
        """Show a sign of life.

        Raises:
            NotWantedError: nobody takes items any more.
        """

    def pause(self, seconds: float) -> None:
        """Wait, but no longer than items are wanted; raises as `go_on`."""


class ReadAhead(Generic[Item]):
    """A block in which items of a generator can be taken in order, made by a thread.

    >>> with ReadAhead(lambda _: (n for n in range(3)), 2, "numbers") as numbers:
    ...     list(numbers)
    [0, 1, 2]

    Args:
        make: returns the generator, which then runs in the thread.
        n_ahead: items that may wait to be taken; one more is being made.
        what: is made, in words, for errors.
        silence_limit_s: how long an item is waited for without a sign of life.
    """

    def __init__(
        self,
        make: Callable[[Progress], Generator[Item, None, None]],
        n_ahead: int,
        what: str,
        silence_limit_s: float = _SILENCE_LIMIT_S,
    ) -> None:
        self._make, self._n_ahead, self._what = make, n_ahead, what
        self._silence_limit_s = silence_limit_s
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._is_wanted, self._is_over = True, False
        self._error: BaseException | None = None
        self._last_sign_s = time.monotonic()
        self._taker = threading.current_thread()
        self._thread = threading.Thread(target=self._work, name=f"read {what}", daemon=True)

    def __enter__(self) -> Iterator[Item]:
        self._last_sign_s = time.monotonic()
        self._thread.start()
        return self._taken()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._changed:
            self._is_wanted = False
            self._items.clear()
            self._changed.notify_all()
        self._thread.join(_END_LIMIT_S)
        if self._thread.is_alive():  # in a request to a storage, which has limits of its own
            _LOGGER.warning("the reader of %s has not ended yet", self._what)

    def go_on(self) -> None:
        """Show a sign of life; see `Progress`."""
        with self._changed:
            self._refuse_unwanted()
            self._last_sign_s = time.monotonic()

    def pause(self, seconds: float) -> None:
        """Wait, but no longer than items are wanted; see `Progress`."""
        deadline = time.monotonic() + seconds
        while (left_s := deadline - time.monotonic()) > 0:
            self.go_on()
            with self._changed:
                if self._is_wanted:
                    self._changed.wait(min(left_s, _LOOK_AGAIN_S))
        self.go_on()

    def _taken(self) -> Iterator[Item]:
        while True:
            with self._changed:
                while not self._items and not self._is_over:
                    self._wait_for_item()
                if not self._items:
                    break
                item = self._items.popleft()
                self._last_sign_s = time.monotonic()  # the thread may have waited for room
                self._changed.notify_all()
            yield item
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _wait_for_item(self) -> None:
        left_s = self._last_sign_s + self._silence_limit_s - time.monotonic()
        if left_s <= 0:
            raise UnreachableError(
                f"waited {self._silence_limit_s:g} s for {self._what}, without a sign of life of"
                " the storage: look whether it answers, then carry on"
            )
        self._changed.wait(min(left_s, _LOOK_AGAIN_S))

    def _work(self) -> None:
        error: BaseException | None = None
        try:
            with closing(self._make(self)) as items:
                for item in items:
                    self._put(item)
        except NotWantedError:
            pass
        except BaseException as raised:  # noqa: BLE001  # raised again where items are taken
            error = raised
        finally:
            with self._changed:
                self._error, self._is_over = error, True
                self._changed.notify_all()

    def _put(self, item: Item) -> None:
        with self._changed:
            # Room may be long in coming: a step of training takes its time. But it is not waited
            # for once the thread that takes the items is gone.
            while len(self._items) >= self._n_ahead and self._taker.is_alive():
                self._refuse_unwanted()
                self._changed.wait(_LOOK_AGAIN_S)
            self._refuse_unwanted()
            self._items.append(item)
            self._last_sign_s = time.monotonic()
            self._changed.notify_all()

    def _refuse_unwanted(self) -> None:
        if not self._is_wanted or not self._taker.is_alive():
            raise NotWantedError
