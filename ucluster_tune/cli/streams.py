"""What this process writes to: no command ends because nobody listens any more.

The two streams are replaced once, below click, rich and `print`, so that nobody above has to think
of a terminal that is gone, a disk that is full, or an encoding that has no such character.
"""

import io
import os
import select
import sys

from ucluster_tune.errors import MachineError

_LIMIT_S = 5.0  # for a terminal that says "later"


Bytes = bytes | bytearray | memoryview


class _Waiting(io.FileIO):
    def take(self, data: Bytes) -> int:
        """Write some bytes, and wait a while where another program made this one not wait."""
        n_written: int | None = super().write(data)
        if n_written is None:
            select.select([], [self.fileno()], [], _LIMIT_S)
            n_written = super().write(data)
        return len(data) if n_written is None else n_written


class _Heard(_Waiting):
    """Standard output: what it does not take is an error once, and lost from there on."""

    is_lost = False

    def write(self, data: Bytes, /) -> int:  # type: ignore[override]  # of any buffer
        """Write some bytes.

        Raises:
            BrokenPipeError: nobody reads any more.
            MachineError: it cannot be written, with the reason.
        """
        if self.is_lost:
            return len(data)
        try:
            return self.take(data)
        except BrokenPipeError:
            self.is_lost = True
            raise
        except OSError as error:
            self.is_lost = True
            raise MachineError(
                f"standard output: cannot be written: {error.strerror}; what was printed there is"
                " not all: send it elsewhere"
            ) from error


class _Unheard(_Waiting):
    """Standard error: what it does not take is nobody's trouble."""

    def write(self, data: Bytes, /) -> int:  # type: ignore[override]  # of any buffer
        """Write some bytes, or not."""
        try:
            return self.take(data)
        except OSError:
            return len(data)


def use_lasting_streams() -> None:
    """Replace the streams of this process; what a test or a notebook put there stays."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed: else the next file, such as a database, would get its number
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _text(_Heard(1, "w", closefd=False), sys.stdout, "replace")
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(_Unheard(2, "w", closefd=False), sys.stderr, "backslashreplace")


def _text(raw: io.FileIO, before: io.TextIOBase | None, errors: str) -> io.TextIOWrapper:
    encoding = getattr(before, "encoding", None) or "utf-8"
    is_line_buffered = raw.isatty() or isinstance(raw, _Unheard)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding, errors, line_buffering=is_line_buffered
    )
