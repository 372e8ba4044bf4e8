"""The append-only journal of a study: one event a line, safe on disk before `append` returns.

Readers take the journal as it is: a last line without its end is an event still being written, or
cut off by a crash, and does not count yet. The writer removes such a rest when it opens.
"""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path
from types import TracebackType

from pydantic import ValidationError

from ucluster_tune.errors import StudyError
from ucluster_tune.storage.whole_files import cannot_be_read, cannot_be_written, flush_folder
from ucluster_tune.study.events import FORMAT_VERSION, Event, StudyStarted, parse_event, upgraded
from ucluster_tune.study.record import StudyRecord

_BLOCK_BYTES = 1 << 16


class StudyJournal:
    """A journal open for appending; only the process that holds the study's lock may have one.

    Args:
        path: the journal's file, made when it is missing; its folder exists.

    Attributes:
        removed_rest: whether it ended with an event that a crash had cut off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._has_rest = False
        is_new = not path.exists()
        try:
            self._file = path.open("ab+", buffering=0)
            self._size = _length_of_whole_lines(self._file)
            self.removed_rest = self._file.seek(0, os.SEEK_END) > self._size
            self._remove_rest()
            if is_new:
                flush_folder(path.parent)
        except OSError as error:
            raise _write_error(path, error) from error

    def append(self, event: Event) -> None:
        """Write one event and wait until it is on disk; nothing of it stays after an error."""
        line = event.line().encode() + b"\n"
        try:
            if self._has_rest:
                self._remove_rest()
            written = 0
            while written < len(line):
                written += self._file.write(line[written:])
            os.fsync(self._file.fileno())
        except OSError as error:
            self._has_rest = True
            with suppress(OSError):  # tried again by the next append, readers do not mind
                self._remove_rest()
            raise _write_error(self.path, error) from error
        self._size += len(line)

    def _remove_rest(self) -> None:
        if self._file.seek(0, os.SEEK_END) > self._size:
            self._file.truncate(self._size)
        self._has_rest = False

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> "StudyJournal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class JournalReader:
    """A journal that is read as far as it is whole, and again from there.

    Args:
        path: the journal's file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._n_bytes = self._n_lines = 0
        self._version = FORMAT_VERSION

    def news(self) -> Iterator[Event]:
        """Yield the events since the look before; StudyError names the line of a broken one."""
        path = self._path
        try:
            with path.open("rb") as file:
                file.seek(self._n_bytes)
                for line in file:
                    if not line.endswith(b"\n"):
                        return
                    self._n_bytes, self._n_lines = self._n_bytes + len(line), self._n_lines + 1
                    if self._n_lines == 1:
                        self._version = _format_version(path, line)
                    yield from _parse(path, self._n_lines, line, self._version)
        except OSError as error:
            raise StudyError(cannot_be_read(path, error)) from error


def read_events(path: Path) -> Iterator[Event]:
    """Yield the journal's events; StudyError names the line of a broken one."""
    return JournalReader(path).news()


def read_record(path: Path) -> StudyRecord:
    """Return the state of the study that the journal tells, under the name of its folder."""
    events = read_events(path)
    first = next(events, None)
    if first is None:
        raise StudyError(
            f"{path}: no event in it: the study was stopped before it began, or a copy of it broke"
            f" off; remove {path.parent} and run it again, or copy it again from where it came"
        )
    if not isinstance(first, StudyStarted):
        raise StudyError(f"{path}: line 1: a record begins with study_started, got {first.event}")
    record = StudyRecord(first)
    for event in events:
        record.apply(event)
    record.name = path.parent.name
    return record


def _parse(path: Path, number: int, line: bytes, version: int) -> list[Event]:
    try:
        if version == FORMAT_VERSION:
            return [parse_event(line)]
        values = json.loads(line)
        return upgraded(values if isinstance(values, dict) else {})
    except (ValidationError, ValueError) as error:
        faults = [fault["msg"] for fault in getattr(error, "errors", list)()]
        raise StudyError(
            f"{path}: line {number} is damaged: {'; '.join(faults) or error}; mend or remove that"
            " line"
        ) from error


def _format_version(path: Path, first_line: bytes) -> int:
    """Return the format of a journal; StudyError for one that a newer program made."""
    try:
        fields = json.loads(first_line)
    except ValueError:
        return FORMAT_VERSION
    version = fields.get("format_version") if isinstance(fields, dict) else None
    if not isinstance(version, int):
        return FORMAT_VERSION
    if version > FORMAT_VERSION:
        raise StudyError(
            f"{path}: has format {version}, this program reads up to {FORMAT_VERSION}:"
            f" the study was made by ucluster-tune {fields.get('code_version')}, install that"
        )
    return version


def _length_of_whole_lines(file: FileIO) -> int:
    """Return the number of bytes up to the end of the last line that has one."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _BLOCK_BYTES)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _write_error(path: Path, error: OSError) -> StudyError:
    return StudyError(f"{cannot_be_written(path, error)}, all up to here is kept")
