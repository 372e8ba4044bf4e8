"""A view that is drawn anew while what it shows goes on."""

import time
from collections.abc import Callable

from rich.console import (
    Console,
    ConsoleDimensions,
    ConsoleOptions,
    RenderableType,
    RenderResult,
)
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType, Segment
from rich.text import Text

_EVERY_S = 2.0  # another process writes what is shown, perhaps on another machine: no event tells


class Screen:
    """A terminal's screen, on which a view is drawn anew in place again and again."""

    def __init__(self) -> None:
        self.size: ConsoleDimensions | None = None

    def fitting(self, view: RenderableType) -> RenderableType:
        """Return as much of a view as the screen has room for."""
        return _OnScreen(view, self)


class _OnScreen:
    """As much of a view as leaves the screen's last line empty.

    The terminal echoes ^C where the view ends; on a full line that would begin another one, which
    rich knows nothing of and would leave behind. After the terminal was made larger or smaller it
    has folded what was drawn before anew, and rich, which goes up by the lines that it drew, would
    leave its head behind: the screen is cleared.
    """

    def __init__(self, view: RenderableType, screen: Screen) -> None:
        self._view, self._screen = view, screen

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._screen.size not in (None, options.size):
            yield Control(ControlType.CLEAR, ControlType.HOME).segment
        self._screen.size = options.size
        lines = console.render_lines(self._view, options, pad=False, new_lines=True)
        for line in lines[: options.size.height - 1]:
            yield from line
        yield Segment.line()


def follow(look: Callable[[], tuple[RenderableType, bool]], console: Console) -> None:
    """Show what `look` returns until it says that nothing more will happen, or Ctrl-C.

    On a terminal the view is redrawn in place and the last one stays; otherwise each view that
    differs from the one before is printed.

    Args:
        look: returns the view, and whether it is the last.
        console: where to show.
    """
    view, is_last = look()
    try:
        if not console.is_terminal:
            _print_changes(look, console, view, is_last)
            return
        screen = Screen()
        with Live(
            screen.fitting(view), console=console, auto_refresh=False, transient=True
        ) as live:
            try:
                while not is_last:
                    time.sleep(_EVERY_S)
                    view, is_last = look()
                    live.update(screen.fitting(view), refresh=True)
            finally:
                live.update(Text())  # what fills the screen cannot be erased
    except KeyboardInterrupt:
        pass
    if console.is_terminal:
        console.print(view, crop=False)


def _print_changes(
    look: Callable[[], tuple[RenderableType, bool]],
    console: Console,
    view: RenderableType,
    is_last: bool,
) -> None:
    shown = ""
    while True:
        with console.capture() as capture:
            console.print(view, crop=False)
        if capture.get() != shown:
            shown = capture.get()
            console.file.write(shown)
            console.file.flush()
        if is_last:
            return
        time.sleep(_EVERY_S)
        view, is_last = look()
