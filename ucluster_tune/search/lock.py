"""One process drives a study: the lock that says so, and who holds it.

The lock is the operating system's: it ends with its process, whatever ended that. `driver.json`
beside it names the holder, so that readers can tell without touching the lock.
"""

import json
import os
import socket
from dataclasses import asdict, dataclass
from types import TracebackType

import psutil
from filelock import FileLock, Timeout

from ucluster_tune.errors import StudyError
from ucluster_tune.search.events import utc_now
from ucluster_tune.search.paths import StudyPaths, replace_file

_PATIENCE_S = 1.0  # a reader on another host may probe the lock for an instant
_START_TOLERANCE_S = 1.5  # the system tells its boot time in whole seconds


@dataclass(frozen=True)
class Driver:
    """The process that drives a study."""

    host: str
    pid: int
    started_s_after_boot: float
    since: str

    @classmethod
    def here(cls) -> "Driver":
        """Returns this process."""
        pid = os.getpid()
        return cls(socket.gethostname(), pid, _start_of(pid), utc_now())

    def is_on_this_host(self) -> bool:
        """Whether its process can be looked up here."""
        return self.host == socket.gethostname()

    def is_alive(self) -> bool:
        """Whether the process still runs, and is not another one with the same number."""
        try:
            start = _start_of(self.pid)
        except psutil.NoSuchProcess:
            return False
        return abs(start - self.started_s_after_boot) <= _START_TOLERANCE_S


def _start_of(pid: int) -> float:
    """Returns when a process started, in seconds after boot: no clock that is set moves it."""
    return psutil.Process(pid).create_time() - psutil.boot_time()


class DriverLock:
    """Held, as a context manager, by the one process that drives a study.

    Raises StudyError, naming host, process and since when, where another process holds it.
    """

    def __init__(self, paths: StudyPaths) -> None:
        self._paths = paths
        self._lock = FileLock(
            paths.lock, timeout=_PATIENCE_S, poll_interval=0.05, thread_local=False
        )

    def __enter__(self) -> "DriverLock":
        try:
            self._lock.acquire()
            replace_file(self._paths.driver, json.dumps(asdict(Driver.here())))
        except Timeout:
            raise StudyError(self._refusal()) from None
        except OSError as error:
            self._lock.release()
            raise StudyError(
                f"{self._paths.root}: cannot be locked: {error.strerror};"
                " check the disk's space and permissions"
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._paths.driver.unlink(missing_ok=True)
        self._lock.release()

    def _refusal(self) -> str:
        driver = read_driver(self._paths)
        who = (
            f"process {driver.pid} on {driver.host} since {driver.since}"
            if driver
            else "another process"
        )
        name = self._paths.name
        return (
            f"study {name} is being run by {who}: watch it with `ucluster-tune status {name}`,"
            " or give the new study another --name"
        )


def read_driver(paths: StudyPaths) -> Driver | None:
    """Returns the process that drives the study, or did until it was killed."""
    try:
        return Driver(**json.loads(paths.driver.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def is_driven(paths: StudyPaths) -> bool:
    """Whether a living process drives the study; never stands in that process's way."""
    driver = read_driver(paths)
    if driver is None:
        return False
    if driver.is_on_this_host():
        return driver.is_alive()
    return _is_locked(paths)


def _is_locked(paths: StudyPaths) -> bool:
    """Probes the lock for an instant: all that can be known of a process on another host."""
    probe = FileLock(paths.lock, timeout=0)
    try:
        probe.acquire()
    except Timeout:
        return True
    except OSError:
        return False
    probe.release()
    return False
