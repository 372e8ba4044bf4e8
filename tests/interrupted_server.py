"""A line to a server of this machine that can be cut and mended, as a network is."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Line:
    """Passes bytes on between a port of its own and a server's.

    While it is cut, connections are closed as soon as they are made.
    """

    def __init__(self, port: int) -> None:
        self.n_refused = 0
        self._port, self._is_cut = port, False
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, name="line", daemon=True).start()

    def cut(self) -> None:
        """Close all connections, and each new one."""
        self._is_cut = True
        while self._open:
            _close(self._open.pop())

    def mend(self) -> None:
        """Let connections pass again."""
        self._is_cut = False

    def close(self) -> None:
        """End for good."""
        _close(self._listener)
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener is closed in the end
            while True:
                near, _ = self._listener.accept()
                if self._is_cut:
                    self.n_refused += 1
                    _close(near)
                    continue
                far = socket.create_connection(("127.0.0.1", self._port), timeout=10)
                self._open |= {near, far}
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            self._open.discard(end)
            _close(end)


@contextmanager
def interruptible(port: int) -> Iterator[Line]:
    """Give a line to a server's port until the end."""
    line = Line(port)
    try:
        yield line
    finally:
        line.close()


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)  # wakes whoever waits for it
    end.close()
