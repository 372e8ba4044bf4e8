"""Who is told that a search has ended."""

import re
import shlex
from typing import ClassVar

from pydantic import Field

from ucluster_tune.config.section import Rule, Section

_VARIABLE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?")


def _is_an_address(webhook: str | None) -> str | None:
    if webhook is None or webhook.startswith(("http://", "https://")) or variable_in(webhook):
        return None
    return "must begin with https:// or http://, or be $NAME, a variable that holds such a thing"


def _has_words(command: str | None) -> str | None:
    try:
        if command is None or shlex.split(command):
            return None
    except ValueError as error:
        return f"cannot be read as words, {str(error).lower()}: {command!r}"
    return "must name a program, got nothing"


def variable_in(webhook: str) -> str | None:
    """Return the name of the environment variable that holds the address, None for an address.

    >>> variable_in("$CHAT_HOOK"), variable_in("https://chat.example/hook")
    ('CHAT_HOOK', None)
    """
    found = _VARIABLE.fullmatch(webhook)
    return found[1] if found else None


class NotifyConfig(Section):
    """Who is told, once, when a search ends, however it does."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("webhook", ("webhook",), _is_an_address),
        Rule("command", ("command",), _has_words),
    )

    webhook: str | None = Field(
        None,
        description="address that JSON is sent to, or $NAME of the variable that holds it",
    )
    command: str | None = Field(
        None, description="program with its arguments; the line becomes its last one"
    )
