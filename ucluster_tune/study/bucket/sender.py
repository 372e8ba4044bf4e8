"""What keeps a study's bucket equal to the working copy while this process drives the study.

Two threads: one tells that the driver lives, and hears whether the study is to stop; the other
sends what is new. The search waits for neither. A bucket that is away is tried again; what it
missed is sent once it is back.
"""

import json
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ucluster_tune.errors import MissingError, StudyError, UClusterTuneError
from ucluster_tune.storage.whole_files import write_whole
from ucluster_tune.study.bucket.claim import BEAT_EVERY_S, BucketClaim, TakenOverError
from ucluster_tune.study.bucket.copy import CopyState, copy_id, copy_lock, fetch_file, pull
from ucluster_tune.study.bucket.segments import MAX_BYTES, Segment
from ucluster_tune.study.paths import StudyPaths, bucket_errors

_LOGGER = logging.getLogger(__name__)
_LOOK_EVERY_S: Final = 0.5
_HEAR_EVERY_S: Final = 3.0
_FILES_EVERY_S: Final = 10.0
_LOG_EVERY_S: Final = 30.0  # it is sent whole
_LONGEST_PAUSE_S: Final = 30.0
_CLOSE_TIMEOUT_S: Final = 60.0
_FILES: Final = (
    "study.yaml",
    "best.yaml",
    "trials/*/config.yaml",
    "trials/*/pictures/*",
    "report/report.html",
    "report/*/*",
)


class BucketSender:
    """Sends what is new in a study to its bucket, and claims it for this process, which drives it.

    Args:
        paths: of the study; this process holds the lock of the working copy.
        who: what `driver.json` on a disk would tell of this process.
    """

    def __init__(self, paths: StudyPaths, who: Mapping[str, Any]) -> None:
        self._paths, self._who = paths, dict(who)
        with copy_lock(paths):
            self._claim = BucketClaim(paths, who, copy_id(paths))
        self._state = CopyState()
        self._sent: dict[str, list[int]] = {}
        self._log_sent_at = 0.0
        self._lost: TakenOverError | None = None
        self._is_closing, self._is_closed = threading.Event(), threading.Event()
        self._threads = [
            threading.Thread(target=self._send, name="bucket-send", daemon=True),
            threading.Thread(target=self._beat, name="bucket-beat", daemon=True),
        ]

    def begin(self) -> None:
        """Claim the study, bring the working copy up to the bucket, and begin to send.

        Raises:
            StudyError: another process drives it, or the bucket cannot be read or written.
        """
        paths = self._paths
        self._claim.take()
        try:
            with copy_lock(paths):
                write_whole(paths.driver, json.dumps(self._who))  # readers leave the copy alone
                for line in pull(paths):
                    _LOGGER.warning("%s", line)
            self._state = CopyState.read(paths)
            with bucket_errors():
                paths.in_bucket(paths.stop_request).delete()
                if not paths.log.exists():
                    fetch_file(paths, paths.log)
        except BaseException:
            with suppress(UClusterTuneError):
                self._claim.release()
            raise
        self._sent = _read_sent(paths)
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Send what is left and give the study up.

        Raises:
            StudyError: not all of it could be sent.
        """
        self._stop_sending()
        failure: UClusterTuneError | None = self._lost
        deadline = time.monotonic() + _CLOSE_TIMEOUT_S
        while self._lost is None:
            try:
                self._send_all()
                failure = None
                break
            except UClusterTuneError as error:
                failure = error
                if time.monotonic() > deadline or isinstance(error, TakenOverError):
                    break
                time.sleep(_LOOK_EVERY_S)
        self._stop_beating()
        try:
            self._claim.release()
        except UClusterTuneError as error:
            _LOGGER.warning("the claim stays in the bucket: %s", error)
        if failure is not None and self._lost is None:
            raise StudyError(
                f"{failure}. What {self._paths.place} lacks is kept in {self._paths.root}: once"
                f" the storage answers, type `ucluster-tune repair {self._paths.name}` here"
            ) from failure

    def forget(self) -> None:
        """Delete the study in the bucket, its record last; nothing is sent any more.

        Raises:
            StudyError: not all of it could be deleted.
        """
        self._stop_sending()
        self._stop_beating()
        assert self._paths.remote is not None
        with bucket_errors():
            for entry in self._paths.remote.list():
                if entry.name != self._paths.segments.name:
                    (self._paths.remote / entry.name).delete()
            self._paths.remote.delete()

    def _stop_sending(self) -> None:
        self._is_closing.set()
        self._threads[0].join()

    def _stop_beating(self) -> None:
        self._is_closed.set()
        self._threads[1].join()

    def _send(self) -> None:
        send_files_at, pause_s = 0.0, _LOOK_EVERY_S
        while not self._is_closing.wait(pause_s) and self._lost is None:
            try:
                self._send_record()
                if time.monotonic() > send_files_at:
                    self._send_files(self._files())
                    send_files_at = time.monotonic() + _FILES_EVERY_S
                pause_s = _LOOK_EVERY_S
            except TakenOverError as error:
                self._lose(error)
            except (UClusterTuneError, OSError) as error:
                _LOGGER.warning("the bucket is behind the record: %s", error)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _send_all(self) -> None:
        self._send_record()
        if self._state.segments:
            self._send_files([*self._files(), self._paths.log, self._paths.optuna_db])

    def _send_record(self) -> None:
        """Have the bucket's record end with what ours ends with."""
        with bucket_errors():
            begin = self._state.n_bytes
            lines = lines_after(self._paths.record, begin)
            if not lines:
                return
            self._claim.ensure()
            kept, last = list(self._state.segments), None
            if kept and kept[-1].n_bytes < MAX_BYTES:
                last = kept.pop()  # goes on under our own name: its writer may not be dead
                with self._paths.record.open("rb") as file:
                    file.seek(begin - last.n_bytes)
                    lines = file.read(last.n_bytes) + lines
            segment = Segment(len(kept) + 1, self._claim.term, self._claim.session, len(lines))
            (self._paths.segments / segment.name).write_bytes(lines)
            self._state = CopyState((*kept, segment))
            self._state.write(self._paths)

    def _files(self) -> Iterator[Path]:
        """Yield the files that are sent when they changed."""
        if not self._state.segments:
            return  # a study that did not begin leaves nothing
        for pattern in _FILES:
            yield from self._paths.root.glob(pattern)
        if time.monotonic() > self._log_sent_at + _LOG_EVERY_S:
            self._log_sent_at = time.monotonic()
            yield self._paths.log

    def _send_files(self, files: Iterable[Path]) -> None:
        has_sent = False
        for path in files:
            name = path.relative_to(self._paths.root).as_posix()
            with suppress(FileNotFoundError):  # replaced at this moment
                found = path.stat()
                now = [found.st_size, found.st_mtime_ns]
                if path.name.startswith(".") or self._sent.get(name) == now:
                    continue
                with bucket_errors():
                    self._paths.in_bucket(path).write_bytes(path.read_bytes())
                self._sent[name], has_sent = now, True
                self._send_record()  # many files must not hold it up
        if has_sent:
            write_whole(self._paths.sent_files, json.dumps(self._sent))

    def _beat(self) -> None:
        beat_at, hear_at = time.monotonic() + BEAT_EVERY_S, 0.0
        while not self._is_closed.wait(_LOOK_EVERY_S) and self._lost is None:
            try:
                if time.monotonic() > beat_at:
                    beat_at = time.monotonic() + BEAT_EVERY_S
                    self._claim.beat()
                if time.monotonic() > hear_at:
                    hear_at = time.monotonic() + _HEAR_EVERY_S
                    self._hear()
            except TakenOverError as error:
                self._lose(error)
            except (UClusterTuneError, OSError) as error:
                _LOGGER.warning("no sign of life in the bucket: %s", error)

    def _hear(self) -> None:
        """Pass a wish to stop on to where the search looks for it."""
        with bucket_errors():
            try:
                wish = self._paths.in_bucket(self._paths.stop_request).read_bytes()
            except MissingError:
                return
        if not self._paths.stop_request.exists():
            write_whole(self._paths.stop_request, wish.decode("utf-8", "replace"))

    def _lose(self, error: TakenOverError) -> None:
        """Have the search end: another process drives the study."""
        _LOGGER.error("%s", error)
        self._lost = error
        write_whole(self._paths.stop_request, json.dumps({"taken_over": str(error)}))


def lines_after(record: Path, begin: int) -> bytes:
    """Return the whole lines of a record from a byte on."""
    try:
        with record.open("rb") as file:
            file.seek(begin)
            rest = file.read()
    except FileNotFoundError:
        return b""
    return rest[: rest.rfind(b"\n") + 1]


def _read_sent(paths: StudyPaths) -> dict[str, list[int]]:
    try:
        return dict(json.loads(paths.sent_files.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
