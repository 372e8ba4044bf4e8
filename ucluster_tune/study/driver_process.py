"""The process that drives a study, as a file tells of it."""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import psutil

from ucluster_tune.study.events import utc_now
from ucluster_tune.study.paths import StudyPaths

_START_TOLERANCE_S = 1.5  # the system tells its boot time in whole seconds


@dataclass(frozen=True)
class DriverProcess:
    """The process that drives a study."""

    host: str
    pid: int
    started_s_after_boot: float
    since: str

    @classmethod
    def here(cls) -> "DriverProcess":
        """Return this process."""
        pid = os.getpid()
        return cls(socket.gethostname(), pid, _start_of(pid), utc_now())

    @classmethod
    def of_file(cls, values: Mapping[str, Any]) -> "DriverProcess | None":
        """Return the process that a file tells of, None where it tells of none."""
        try:
            return cls(**{field.name: values[field.name] for field in fields(cls)})
        except (KeyError, TypeError):
            return None

    def is_on_this_host(self) -> bool:
        """Return whether its process can be looked up here."""
        return self.host == socket.gethostname()

    def is_alive(self) -> bool:
        """Return whether the process still runs, and is not another one with the same number."""
        try:
            start = _start_of(self.pid)
        except psutil.NoSuchProcess:
            return False
        return abs(start - self.started_s_after_boot) <= _START_TOLERANCE_S


def _start_of(pid: int) -> float:
    """Return when a process started, in seconds after boot: no clock that is set moves it."""
    return psutil.Process(pid).create_time() - psutil.boot_time()


def read_driver_file(paths: StudyPaths) -> DriverProcess | None:
    """Return the process that a study's folder on this machine names, dead or alive."""
    try:
        return DriverProcess.of_file(json.loads(paths.driver.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def is_driven_here(paths: StudyPaths) -> bool:
    """Return whether a living process of this host drives the study in its folder here."""
    driver = read_driver_file(paths)
    return driver is not None and driver.is_on_this_host() and driver.is_alive()
