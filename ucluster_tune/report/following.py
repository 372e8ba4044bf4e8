"""A view that is drawn anew while what it shows goes on."""

import time
from collections.abc import Callable

from rich.console import Console, RenderableType
from rich.live import Live

_EVERY_S = 2.0


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
        with Live(view, console=console, auto_refresh=False, vertical_overflow="crop") as live:
            while not is_last:
                time.sleep(_EVERY_S)
                view, is_last = look()
                live.update(view, refresh=True)
    except KeyboardInterrupt:
        return


def _print_changes(
    look: Callable[[], tuple[RenderableType, bool]],
    console: Console,
    view: RenderableType,
    is_last: bool,
) -> None:
    shown = ""
    while True:
        with console.capture() as capture:
            console.print(view)
        if capture.get() != shown:
            shown = capture.get()
            console.file.write(shown)
            console.file.flush()
        if is_last:
            return
        time.sleep(_EVERY_S)
        view, is_last = look()
