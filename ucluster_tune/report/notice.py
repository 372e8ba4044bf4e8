"""A search's end told to whoever asked for it: to a chat by a webhook, or by a command.

Told once, when the driver ends, with the answer in a line. What cannot be told is said, and
nothing fails for it.
"""

import json
import os
import shlex
import subprocess
import urllib.request
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from ucluster_tune.config.notify import NotifyConfig, variable_in
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.report import cells
from ucluster_tune.study.budget import elapsed_s
from ucluster_tune.study.events import Event
from ucluster_tune.study.record import StudyRecord

_TIMEOUT_S: Final = 10.0


class Notice:
    """Tells of a search's end; a viewer of it.

    Args:
        say: shows one line.
        timeout_s: limit of the wait for either of them.
    """

    def __init__(self, say: Callable[[str], None], timeout_s: float = _TIMEOUT_S) -> None:
        self._say, self._timeout_s = say, timeout_s
        self._config = NotifyConfig()
        self._is_confirmation = False

    def on_study_start(self, study_config: StudyConfig, record: StudyRecord) -> None:
        """Take in who is to be told; say at once where that will not be possible."""
        self._config, self._is_confirmation = study_config.notify, record.is_confirming
        try:
            self._address()
        except ValueError as error:
            self._say(f"Nobody will be told of the end: {error}")

    def on_event(self, event: Event, record: StudyRecord) -> None:
        """Do nothing: only the end is told."""

    def on_study_end(self, record: StudyRecord) -> None:
        """Tell it."""
        line = answer_line(record, is_confirmation=self._is_confirmation)
        try:
            address = self._address()
        except ValueError:  # said at the start
            address = None
        if address is not None:
            self._send(address, line, record)
        if self._config.command is not None:
            self._run(self._config.command, line)

    def _address(self) -> str | None:
        webhook = self._config.webhook
        name = None if webhook is None else variable_in(webhook)
        if name is None:
            return webhook
        address = os.environ.get(name, "")
        if not address.startswith(("http://", "https://")):
            raise ValueError(f"notify.webhook: the variable {name} holds no address here")
        return address

    def _send(self, address: str, line: str, record: StudyRecord) -> None:
        message = {"text": line, "study": record.name, "state": record.state}
        request = urllib.request.Request(  # http and https alone, see _address
            address,
            data=json.dumps(message).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_s):
                return
        except (OSError, ValueError) as error:
            host = urlsplit(address).hostname  # the rest of such an address is a secret
            self._say(f"The webhook at {host} was not told of the end: {error}")

    def _run(self, command: str, line: str) -> None:
        try:
            subprocess.run(  # what the user's own file names, without a shell
                [*shlex.split(command), line],
                timeout=self._timeout_s,
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        except (OSError, subprocess.SubprocessError) as error:
            told = getattr(error, "stderr", None) or b""
            why = told.decode(errors="replace").strip().splitlines()[-1:] or [str(error)]
            self._say(f"notify.command did not tell of the end: {why[0]}")


def answer_line(record: StudyRecord, *, is_confirmation: bool = False) -> str:
    """Return what a search, or a confirmation, came to, in a line."""
    if is_confirmation and record.confirmed is not None and record.confirmed.result is not None:
        return f"Study {record.name}: {record.confirmed.result.words[0]}"
    if is_confirmation:
        return f"Study {record.name}: the confirmation ended without a result"
    line = f"Study {record.name} is {record.state}"
    line += f" ({record.cause.strip().splitlines()[0]})" if record.cause else ""
    best, metric = record.best, record.objective.metric
    if best is None:
        return f"{line}: no trial finished an epoch"
    score = cells.metric(metric, best.score(record.objective))
    line += f": best is trial {best.id} with {metric.replace('_', ' ')} {score} on validation jets"
    test = (record.best_test or {}).get(metric)
    line += "" if test is None else f", {cells.metric(metric, test)} on test jets"
    done = f"{record.n_finished} of {cells.plural(record.n_trials, 'trial')}"
    return f"{line}; {done} in {cells.duration(elapsed_s(record))}"
