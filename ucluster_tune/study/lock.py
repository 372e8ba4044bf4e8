"""One process drives a study: the lock that says so, and who holds it.

The lock is the operating system's: it ends with its process, whatever ended that. `driver.json`
beside it names the holder, so that readers can tell without touching the lock. A study in a bucket
has its working copy locked in this way, and is claimed for all machines by `study.bucket.claim`.
"""

import json
import logging
from contextlib import suppress
from dataclasses import asdict
from types import TracebackType

from filelock import FileLock, Timeout

from ucluster_tune.errors import StudyError
from ucluster_tune.storage.whole_files import write_whole
from ucluster_tune.study.bucket.claim import is_driven_elsewhere, read_claim
from ucluster_tune.study.bucket.sender import BucketSender
from ucluster_tune.study.driver_process import DriverProcess, is_driven_here, read_driver_file
from ucluster_tune.study.paths import StudyPaths, bucket_errors

_LOGGER = logging.getLogger(__name__)
_PATIENCE_S = 1.0  # a reader on another host may probe the lock for an instant


class DriverLock:
    """Held, as a context manager, by the one process that drives a study.

    Of a study in a bucket, the working copy is up to date while it is held, and what changes in it
    is sent to the bucket.

    Raises StudyError, naming host, process and since when, where another process holds it.
    """

    def __init__(self, paths: StudyPaths) -> None:
        self._paths = paths
        self._bucket: BucketSender | None = None
        self._lock = FileLock(
            paths.lock, timeout=_PATIENCE_S, poll_interval=0.05, thread_local=False
        )

    def __enter__(self) -> "DriverLock":
        try:
            if self._paths.remote is not None:
                self._paths.root.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            if self._paths.remote is None:
                write_whole(self._paths.driver, json.dumps(asdict(DriverProcess.here())))
            else:
                self._enter_bucket()
        except Timeout:
            raise StudyError(self._refusal()) from None
        except OSError as error:
            self._lock.release()
            raise StudyError(
                f"{self._paths.root}: cannot be locked: {error.strerror};"
                " check the disk's space and permissions"
            ) from error
        return self

    def _enter_bucket(self) -> None:
        try:
            bucket = BucketSender(self._paths, asdict(DriverProcess.here()))
            bucket.begin()
        except BaseException:
            self._paths.driver.unlink(missing_ok=True)
            self._lock.release()
            raise
        self._bucket = bucket

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        bucket, self._bucket = self._bucket, None
        try:
            if bucket is not None:
                bucket.end()
        except StudyError as failure:
            if error is None:
                raise
            _LOGGER.warning("%s", failure)  # must not hide why it came to this
        finally:
            with suppress(OSError):  # on a disk that takes nothing; a dead process's does no harm
                self._paths.driver.unlink(missing_ok=True)
            self._lock.release()

    def forget_bucket(self) -> None:
        """Delete the study in its bucket, where it has one, and send nothing any more.

        Raises:
            StudyError: not all of it could be deleted.
        """
        bucket, self._bucket = self._bucket, None
        if bucket is not None:
            bucket.forget()

    def _refusal(self) -> str:
        driver = read_driver(self._paths)
        who = (
            f"process {driver.pid} on {driver.host} since {driver.since}"
            if driver
            else "another process"
        )
        name = self._paths.name
        return (
            f"study {name} is being run by {who}: watch it with `ucluster-tune status {name}`, or"
            f" end it in order with `ucluster-tune stop {name}`"
        )


def read_driver(paths: StudyPaths) -> DriverProcess | None:
    """Return the process that drives the study, or did until it was killed.

    Raises:
        StudyError: its bucket cannot be read.
    """
    if paths.remote is None or is_driven_here(paths):
        return read_driver_file(paths)
    with bucket_errors():
        return DriverProcess.of_file(read_claim(paths) or {})


def is_driven(paths: StudyPaths) -> bool:
    """Return whether a living process drives the study; never stand in its way.

    Raises:
        StudyError: its bucket cannot be read.
    """
    if paths.remote is not None:
        return is_driven_here(paths) or is_driven_elsewhere(paths)
    driver = read_driver(paths)
    if driver is None:
        return False
    if driver.is_on_this_host():
        return driver.is_alive()
    return _is_locked(paths)


def _is_locked(paths: StudyPaths) -> bool:
    """Probe the lock for an instant: all that can be known of a process on another host."""
    probe = FileLock(paths.lock, timeout=0)
    try:
        probe.acquire()
    except Timeout:
        return True
    except OSError:
        return False
    probe.release()
    return False
