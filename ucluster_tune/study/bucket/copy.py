"""The working copy of a study that lies in a bucket, brought up to what lies there.

What the copy has and the bucket has not, since its driver died before it could send it, stays and
is sent by the next driver from here. Where another machine went on in between there would be two
truths: the bucket's is the record then, and the lines that are only here are put aside.
"""

import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from ucluster_tune.errors import MissingError, StudyError
from ucluster_tune.storage.whole_files import cannot_be_written, write_whole
from ucluster_tune.study.bucket.segments import Segment, chain
from ucluster_tune.study.driver_process import is_driven_here
from ucluster_tune.study.paths import StudyPaths, bucket_errors, is_only_here

_LOGGER = logging.getLogger(__name__)
_PATIENCE_S: Final = 120.0  # another process may be fetching a long record
_MAX_REQUESTS: Final = 16
_ATTEMPTS: Final = 3
_PAUSE_S: Final = 0.5
BEGINNING: Final = ("driver.json", "stop.json")  # what lies in a bucket before the first event


@dataclass(frozen=True)
class CopyState:
    """How far a working copy and the bucket are equal.

    Attributes:
        segments: of the record, whose bytes the working copy's record begins with.
    """

    segments: tuple[Segment, ...] = ()

    @classmethod
    def read(cls, paths: StudyPaths) -> "CopyState":
        """Return the state that a working copy tells; that of an empty one where it tells none."""
        try:
            told = json.loads(paths.copy_state.read_text(encoding="utf-8"))
            return cls(tuple(Segment(**segment) for segment in told["segments"]))
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, TypeError, KeyError) as error:
            _LOGGER.warning("%s: not read, found out anew: %s", paths.copy_state, error)
            return cls()

    def write(self, paths: StudyPaths) -> None:
        """Keep the state beside the working copy."""
        write_whole(paths.copy_state, json.dumps(asdict(self)))

    @property
    def n_bytes(self) -> int:
        """Bytes of the record that the bucket is known to have."""
        return sum(segment.n_bytes for segment in self.segments)


def copy_id(paths: StudyPaths) -> str:
    """Return what tells a working copy from any other one; the caller holds its `copy_lock`."""
    with suppress(FileNotFoundError):
        return paths.copy_id.read_text(encoding="utf-8")
    write_whole(paths.copy_id, uuid.uuid4().hex)
    return paths.copy_id.read_text(encoding="utf-8")


@contextmanager
def copy_lock(paths: StudyPaths) -> Iterator[None]:
    """Hold what one process at a time may have that changes a working copy.

    Raises:
        StudyError: another process holds it for too long, or the copy cannot be written.
    """
    lock = FileLock(paths.copy_lock, timeout=_PATIENCE_S, poll_interval=0.05)
    try:
        paths.trials.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise StudyError(
            f"{paths.root}: another process has been fetching study {paths.name} for"
            f" {_PATIENCE_S:g} s: end it, or try again"
        ) from None
    except OSError as error:
        copy = f"{paths.root}, the working copy of {paths.place}"
        raise StudyError(
            f"{cannot_be_written(copy, error)}; UCLUSTER_TUNE_CACHE names another one"
        ) from error
    try:
        yield
    finally:
        lock.release()


def pull(paths: StudyPaths) -> list[str]:
    """Bring a working copy up to the bucket; the caller holds its `copy_lock`.

    Returns:
        What was found otherwise than expected, one line each.

    Raises:
        StudyError: the bucket cannot be read, or the copy not written.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with bucket_errors():
                return _pull(paths)
        except StudyError as error:
            # A segment may have gone between its listing and its reading: a study deleted, made.
            if attempt == _ATTEMPTS or not isinstance(error.__cause__, MissingError):
                raise
        time.sleep(_PAUSE_S)
    raise AssertionError("not reached")


def record_in_bucket(paths: StudyPaths) -> list[Segment]:
    """Return the segments that are the study's record; errors are those of a `Location`."""
    found = (Segment.named(e.name, e.n_bytes) for e in paths.segments.list() if e.is_file)
    return chain(segment for segment in found if segment is not None)


def has_record(paths: StudyPaths) -> bool:
    """Return whether the bucket has a study's record.

    Raises:
        StudyError: the bucket cannot be read.
    """
    with bucket_errors():
        return bool(record_in_bucket(paths))


def is_in_bucket(paths: StudyPaths) -> bool:
    """Return whether a study, or what is left of one, is in the bucket or waits here for it.

    Raises:
        StudyError: the bucket cannot be read.
    """
    assert paths.remote is not None
    with bucket_errors():
        found = {entry.name for entry in paths.remote.list()}
    found = {name for name in found if name not in BEGINNING and not name.startswith("now-")}
    return bool(found) or is_only_here(paths)


def _pull(paths: StudyPaths) -> list[str]:
    ours, segments = CopyState.read(paths).segments, record_in_bucket(paths)
    if list(ours) == segments:
        return []
    n_same = _n_equal(ours, segments)
    begin = sum(segment.n_bytes for segment in segments[:n_same])
    news = paths.root / f".{paths.record.name}.{os.getpid()}.news"
    told = []
    try:
        fetched = _fetch(paths, segments[n_same:], news)
        if begin == 0 and _is_of_another_study(paths.record, news):
            told.append(_put_copy_aside(paths, news))
        told += _join(paths, begin, news)
    finally:
        news.unlink(missing_ok=True)
    for path in (paths.study_yaml, paths.best_yaml):
        fetch_file(paths, path)
    CopyState((*segments[:n_same], *fetched)).write(paths)
    return told


def _n_equal(ours: Sequence[Segment], theirs: Sequence[Segment]) -> int:
    n_equal = 0
    for mine, other in zip(ours, theirs, strict=False):
        if mine != other:
            break
        n_equal += 1
    return n_equal


def _fetch(paths: StudyPaths, segments: Sequence[Segment], target: Path) -> list[Segment]:
    """Write segments one after the other into a file; return them as they were when read."""
    fetched = []
    with ThreadPoolExecutor(_MAX_REQUESTS) as threads, target.open("wb") as file:
        reads = threads.map(lambda s: (paths.segments / s.name).read_bytes(), segments)
        for segment, contents in zip(segments, reads, strict=True):
            file.write(contents)
            fetched.append(replace(segment, n_bytes=len(contents)))
    return fetched


def _is_of_another_study(record: Path, news: Path) -> bool:
    """Return whether two records begin with other lines; the first one names the study."""
    ours, theirs = _first_line(record), _first_line(news)
    return ours.endswith(b"\n") and ours != theirs


def _first_line(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.readline()
    except FileNotFoundError:
        return b""


def _join(paths: StudyPaths, begin: int, news: Path) -> list[str]:
    """Have the record go on with `news` from the byte `begin`; return what is to be told.

    A crash on the way leaves a record that is shorter, and is joined again the next time.
    """
    told: list[str] = []
    paths.record.touch()
    with paths.record.open("r+b") as record, news.open("rb") as file:
        record.seek(begin)
        rest = record.read()
        rest = rest[: rest.rfind(b"\n") + 1]
        start = file.read(len(rest))
        if rest.startswith(start) and file.tell() == news.stat().st_size:
            return told  # all that is there is here, and perhaps more
        if start != rest:
            told.append(_put_lines_aside(paths, rest, start))
            file.seek(0)
            rest = b""
        record.truncate(begin + len(rest))
        record.seek(0, os.SEEK_END)
        shutil.copyfileobj(file, record)
        record.flush()
        os.fsync(record.fileno())
    return told


def _put_lines_aside(paths: StudyPaths, ours: bytes, theirs: bytes) -> str:
    """Keep the lines that only this machine has in a file of their own."""
    common = 0
    for mine, other in zip(ours.splitlines(True), theirs.splitlines(True), strict=False):
        if mine != other:
            break
        common += len(mine)
    lines = ours[common:]
    aside = paths.root / f"record-put-aside-{_stamp()}.jsonl"
    write_whole(aside, lines.decode("utf-8", "replace"))
    return (
        f"{lines.count(10)} events of an interrupted session were only on this machine, and study"
        f" {paths.name} went on elsewhere without them: its record is the one in {paths.place};"
        f" they are kept in {aside}"
    )


def _put_copy_aside(paths: StudyPaths, news: Path) -> str:
    """Move all that a working copy of another study of the same name has out of the way."""
    aside = paths.root.with_name(f".{paths.name}.{_stamp()}")
    aside.mkdir()
    stays = {paths.lock, paths.copy_lock, paths.sync_lock, paths.copy_id, paths.driver, news}
    for path in paths.root.iterdir():
        if path not in stays:
            path.rename(aside / path.name)
    paths.trials.mkdir()
    return (
        f"{paths.place} is not the study of that name that was known here, whose files are kept"
        f" in {aside}"
    )


def fetch_file(paths: StudyPaths, path: Path) -> None:
    """Fetch a file of the working copy where the bucket has it; errors as of a `Location`."""
    try:
        contents = paths.in_bucket(path).read_bytes()
    except MissingError:
        return
    write_whole(path, contents)


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")


def refresh(paths: StudyPaths) -> None:
    """Bring the working copy of a study up to its bucket, to be read.

    Nothing to do without a bucket, or where a driver works in the copy: it is the newest then.

    Raises:
        StudyError: the bucket cannot be read, or the copy not written.
    """
    if paths.remote is None or is_driven_here(paths):
        return
    with copy_lock(paths):
        if not is_driven_here(paths):
            for line in pull(paths):
                _LOGGER.warning("%s", line)
