"""What a study's driver and the workers of its trials wrote, wherever that lies.

With the study on a disk that every node sees, a log is a file that grows. With the study in a
bucket, the driver and each machine of a trial put theirs there, whole, every some seconds.
"""

import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from ucluster_tune.errors import MissingError, StudyError
from ucluster_tune.study.bucket.copy import refresh
from ucluster_tune.study.driver_process import is_driven_here
from ucluster_tune.study.events import Event
from ucluster_tune.study.journal import JournalReader
from ucluster_tune.study.lock import is_driven
from ucluster_tune.study.paths import StudyPaths, bucket_errors
from ucluster_tune.study.status import find_trial
from ucluster_tune.trial.files import SENT_LOG

if TYPE_CHECKING:
    from ucluster_tune.storage.locations import Location

_T = TypeVar("_T")
_FILE_EVERY_S: Final = 1.0
_BUCKET_EVERY_S: Final = 5.0
_PIECE: Final = 65_536


def log_text(
    paths: StudyPaths, trial: str | None, n_lines: int, *, follow: bool = False
) -> Iterator[str]:
    """Yield the last lines of a log, and what is added to it afterwards.

    A trial of a study in a bucket has a log of each machine; the one that was written last comes
    last, and `==> HOST <==` stands before each where there are several.

    Args:
        paths: of the study.
        trial: whose workers wrote it, by id or number; None for the study's driver.
        n_lines: that are there already, of each machine.
        follow: whether to go on until nobody drives the study.

    Raises:
        StudyError: there is no such trial, nothing was written, or the bucket cannot be read.
    """
    if trial is not None:
        trial = find_trial(paths, trial)
    if paths.remote is None or (trial is None and _is_newest_here(paths)):
        yield from _file_text(
            paths, paths.log if trial is None else paths.trial(trial).workers_log, n_lines, follow
        )
        return
    if trial is None:
        log = _BucketLog(paths.remote, re.compile(f"(){re.escape(paths.log.name)}"))
    else:
        log = _BucketLog(paths.remote / paths.trials.name / trial, SENT_LOG)
    if follow:
        yield from _until_ended(paths, lambda ended: log.news(n_lines, ended), _BUCKET_EVERY_S)
    else:
        yield from log.news(n_lines, is_last=True)
    if not log.has_any:
        raise StudyError(f"{log.place}: nothing was written there yet")


def events_of(paths: StudyPaths, *, follow: bool = False) -> Iterator[list[Event]]:
    """Yield the events of a study's record, then those that are added until nobody drives it.

    Args:
        paths: of the study.
        follow: whether to go on after those there are.

    Raises:
        StudyError: the record is damaged, or the bucket cannot be read.
    """
    reader = JournalReader(paths.record)

    def look(_is_last: bool) -> Iterator[list[Event]]:
        refresh(paths)
        yield list(reader.news())

    every_s = _FILE_EVERY_S if paths.remote is None else _BUCKET_EVERY_S
    yield from _until_ended(paths, look, every_s) if follow else look(True)


def _is_newest_here(paths: StudyPaths) -> bool:
    """Return whether the working copy's log goes on from what the bucket has of it.

    It does where the driver runs here, or was killed here before it sent its last words.
    """
    if is_driven_here(paths):
        return True
    if not paths.log.exists() or is_driven(paths):
        return False
    with bucket_errors(), suppress(MissingError):
        return paths.log.read_bytes().startswith(paths.in_bucket(paths.log).read_bytes())
    return True


def _until_ended(
    paths: StudyPaths, look: Callable[[bool], Iterator[_T]], every_s: float
) -> Iterator[_T]:
    """Yield what each look finds, which is told whether it is the last one."""
    while True:
        is_last = not is_driven(paths)  # before what is read: its last words are in it
        yield from look(is_last)
        if is_last:
            return
        time.sleep(every_s)  # neither a file nor a bucket tells of what is added


def _file_text(paths: StudyPaths, file: Path, n_lines: int, follow: bool) -> Iterator[str]:
    try:
        text = file.open(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise StudyError(f"{file}: nothing was written there yet") from None
    with text:
        yield "".join(deque(text, maxlen=n_lines))
        if follow:
            look = partial(text.read, _PIECE)
            yield from _until_ended(paths, lambda _: iter(look, ""), _FILE_EVERY_S)


class _BucketLog:
    """A log in a bucket, one object for each machine that writes to it.

    Args:
        place: the folder of the objects.
        name: of one of them; its first group is the machine's name.
    """

    def __init__(self, place: "Location", name: re.Pattern[str]) -> None:
        self.place, self._name = place, name
        self._shown: dict[str, bytes] = {}
        self._last = ""

    @property
    def has_any(self) -> bool:
        """Whether any machine wrote something."""
        return bool(self._shown)

    def news(self, n_lines: int, is_last: bool) -> Iterator[str]:
        """Yield the lines that are new since the look before.

        Args:
            n_lines: of each machine that the first look shows.
            is_last: whether a line that has no end yet is shown too.
        """
        is_first = not self._shown
        with bucket_errors():
            entries = sorted(self.place.list(), key=lambda entry: entry.modified_s)
        found = [entry for entry in entries if self._name.fullmatch(entry.name) and entry.n_bytes]
        for entry in found:
            shown = self._shown.get(entry.name, b"")
            if len(shown) == entry.n_bytes:
                continue
            with bucket_errors():
                now = (self.place / entry.name).read_bytes()
            if not is_last:
                now = now[: now.rfind(b"\n") + 1]
            self._shown[entry.name] = now
            lines = now.removeprefix(shown).splitlines(keepends=True)
            if is_first:
                lines = lines[max(0, len(lines) - n_lines) :]
            yield from self._with_heading(entry.name, b"".join(lines), len(found) > 1)

    def _with_heading(self, name: str, contents: bytes, has_others: bool) -> Iterator[str]:
        if contents and has_others and name != self._last:
            match = self._name.fullmatch(name)
            assert match is not None
            yield f"{chr(10) * bool(self._last)}==> {match[1]} <==\n"
        if contents:
            self._last = name
            yield contents.decode("utf-8", "replace")
