"""A view that is drawn anew while what it shows goes on."""

import pytest
from rich.console import Console
from rich.text import Text

from tests.terminal import Terminal
from ucluster_tune.report import following


def test_the_last_view_stays_whole_and_nothing_of_those_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal(40, 8)
    console = Console(file=terminal, force_terminal=True, width=40, height=8)
    views = iter(range(3))

    def look() -> tuple[Text, bool]:
        number = next(views)
        return Text("\n".join(f"view {number} line {n}" for n in range(12))), number == 2

    # In place of the pause between two views, so that nothing waits.
    monkeypatch.setattr("time.sleep", lambda _: terminal.echo_ctrl_c())
    following.follow(look, console)
    assert terminal.lines() == [f"view 2 line {n}" for n in range(12)]
