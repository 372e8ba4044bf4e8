"""The report written again while a search runs, beside it, and once at its end.

By a process of its own that is the least urgent of the machine, one at a time and seldom, so that
trials hardly notice. Whatever becomes of it ends or holds no search.
"""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from ucluster_tune.config.study import StudyConfig
from ucluster_tune.search.reporting import WrittenReport
from ucluster_tune.storage.patience import begin
from ucluster_tune.study.events import Event, StudyEnded, TrialEnded, YardsticksMeasured
from ucluster_tune.study.paths import StudiesFolder, StudyPaths
from ucluster_tune.study.record import StudyRecord

_LOGGER = logging.getLogger(__name__)
_LEAST_URGENT: Final = 19
_LEAST_PAUSE_S: Final = 60.0
_SHARE: Final = 0.05  # of the time in which it may be at work
_TIMEOUT_S: Final = 600.0
_END_S: Final = 10.0  # a process that was killed is gone at once


def write_at_end(record: StudyRecord, paths: StudyPaths) -> WrittenReport:
    """Write the page of a search that has ended.

    Raises:
        StudyError: the folder cannot be written.
    """
    from ucluster_tune.report.page.writing import write_study_page  # SciPy: no search waits for it

    return write_study_page(record, paths)


class ReportBeside:
    """A viewer that has the report of a search written after its trials.

    Args:
        folder: of all studies.
        say: shows one line.
        command: that writes it, followed by the study's name; None for `ucluster-tune report`.
        least_pause_s: between two of them.
    """

    def __init__(
        self,
        folder: StudiesFolder,
        say: Callable[[str], None],
        command: Sequence[str] | None = None,
        least_pause_s: float = _LEAST_PAUSE_S,
    ) -> None:
        where = ["--studies-dir", folder.place]
        own = [sys.executable, "-m", "ucluster_tune", "report", "--local", "--svg", *where]
        self._folder, self._say, self._command = folder, say, own if command is None else command
        self._least_pause_s, self._not_before_s = least_pause_s, 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._has_ended = self._has_told = False
        self._lock = threading.Lock()

    def on_study_start(self, study_config: StudyConfig, record: StudyRecord) -> None:
        """Say where it will be."""
        page = self._folder.study(record.name).report_page
        self._say(f"Report, written again after trials and read again by the browser: {page}")

    def on_event(self, event: Event, record: StudyRecord) -> None:
        """Begin to write where a trial has ended and the last report is long enough ago."""
        if isinstance(event, StudyEnded):
            self._end()
        elif isinstance(event, TrialEnded | YardsticksMeasured):
            with self._lock:
                is_due = self._process is None and time.monotonic() >= self._not_before_s
                if is_due and not self._has_ended:
                    self._begin(record.name)

    def on_study_end(self, record: StudyRecord) -> None:
        """Do nothing: the search has written its last report."""

    def _begin(self, name: str) -> None:
        try:
            self._process = subprocess.Popen(
                [*self._command, name],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for the search
            )
        except OSError as error:
            self._fail(str(error))
            return
        with suppress(OSError):  # it has ended already
            os.setpriority(os.PRIO_PROCESS, self._process.pid, _LEAST_URGENT)
        begin(partial(self._wait, self._process), "report-beside")

    def _wait(self, process: "subprocess.Popen[bytes]") -> None:
        began_s = time.monotonic()
        try:
            _, told = process.communicate(timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            told = f"it took longer than {_TIMEOUT_S:g} s".encode()
            process.wait()
        now_s = time.monotonic()
        with self._lock:
            self._process = None
            self._not_before_s = now_s + max(self._least_pause_s, (now_s - began_s) / _SHARE)
            if process.returncode != 0 and not self._has_ended:
                lines = told.decode(errors="replace").strip().splitlines()
                self._fail(lines[-1] if lines else f"exit code {process.returncode}")

    def _fail(self, why: str) -> None:
        _LOGGER.warning("the report was not written again: %s", why)
        if not self._has_told:  # once: the next one may fail for the same cause
            self._has_told = True
            self._say(f"The report was not written again: {why}")

    def _end(self) -> None:
        """End what is at work: the last report is written by the search itself."""
        with self._lock:
            self._has_ended, process = True, self._process
        if process is not None:
            process.kill()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                _LOGGER.warning("the process that writes the report is not gone")
