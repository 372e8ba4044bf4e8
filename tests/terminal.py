"""A terminal in memory: what of what is written to it stays to be seen."""

import io

import pyte

_CTRL_C = "^C"


class Terminal(io.StringIO):
    """Shows what is written to it, redrawn lines included, as a terminal of some size does."""

    def __init__(self, width: int = 80, height: int = 24) -> None:
        super().__init__()
        self._screen = pyte.HistoryScreen(width, height, history=1000)
        self._screen.set_mode(pyte.modes.LNM)  # as a tty makes a carriage return of a new line
        self._stream = pyte.Stream(self._screen)

    def write(self, text: str) -> int:
        """Show some text; bytes are refused, by which click knows a stream of text."""
        super().write(text)
        self._stream.feed(text)
        return len(text)

    def isatty(self) -> bool:
        """Return that this is a terminal."""
        return True

    def resize(self, width: int, height: int) -> None:
        """Make it larger or smaller: its lines are folded anew, as terminals do."""
        folded = [line[n : n + width] for line in self.lines() for n in range(0, len(line), width)]
        self._screen.resize(height, width)
        self._screen.reset()
        self._screen.set_mode(pyte.modes.LNM)
        self._stream.feed("\n".join([*folded, ""]))

    def echo_ctrl_c(self) -> None:
        """Show what a tty shows by itself where somebody types Ctrl-C."""
        self.write(_CTRL_C)

    def lines(self) -> list[str]:
        """Return all lines, those that have left at the top too, without the empty end."""
        columns = range(self._screen.columns)
        left = ["".join(line[n].data for n in columns) for line in self._screen.history.top]
        lines = [line.rstrip() for line in [*left, *self._screen.display]]
        while lines and not lines[-1]:
            lines.pop()
        return lines
