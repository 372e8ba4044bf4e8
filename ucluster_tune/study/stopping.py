"""The wish that a study stops, told to its driver through a file: it may be on another host."""

import json
import logging
import os
import signal
from typing import Literal

from ucluster_tune.errors import StudyError
from ucluster_tune.storage.patience import wait_until
from ucluster_tune.storage.whole_files import explained, write_whole
from ucluster_tune.study.bucket.claim import TakenOverError
from ucluster_tune.study.driver_process import is_driven_here
from ucluster_tune.study.lock import is_driven, read_driver
from ucluster_tune.study.paths import StudyPaths, bucket_errors

_LOGGER = logging.getLogger(__name__)
_POLL_S, _POLL_BUCKET_S = 0.2, 2.0
_KILL_AFTER_S = 30.0
StopRequest = Literal["after_epoch", "now"]


def request_stop(paths: StudyPaths, request: StopRequest) -> None:
    """Ask the study's driver to stop.

    Raises:
        StudyError: nothing drives the study, or its folder cannot be written.
    """
    if not is_driven(paths):
        raise StudyError(
            f"study {paths.name} is not running: nothing to stop;"
            f" carry it on with `ucluster-tune resume {paths.name}`"
        )
    wish = json.dumps({"stop": request})
    if paths.remote is not None and not is_driven_here(paths):
        with bucket_errors():
            paths.in_bucket(paths.stop_request).write_bytes(wish.encode())
        return
    with explained(paths.stop_request, StudyError):
        write_whole(paths.stop_request, wish)


def read_stop_request(paths: StudyPaths) -> StopRequest | None:
    """Return what was asked for, None where nothing was.

    Raises:
        TakenOverError: another process drives the study by now.
    """
    try:
        told = json.loads(paths.stop_request.read_text(encoding="utf-8"))
        if "taken_over" in told:
            raise TakenOverError(told["taken_over"])
        asked = told["stop"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        _LOGGER.warning("%s: not read: %s", paths.stop_request, error)
        return None
    return "now" if asked == "now" else "after_epoch"


def wait_until_stopped(paths: StudyPaths, timeout_s: float) -> bool:
    """Return whether the driver ended within the limit."""
    every_s = _POLL_S if paths.remote is None else _POLL_BUCKET_S
    return wait_until(lambda: not is_driven(paths), timeout_s, every_s)


def stop_now(paths: StudyPaths) -> None:
    """Have the driver end at once; one on this host that does not react is killed.

    Raises:
        StudyError: nothing drives the study, or a driver on another host does not end.
    """
    request_stop(paths, "now")
    if wait_until_stopped(paths, _KILL_AFTER_S):
        return
    driver = read_driver(paths)
    if driver is None:
        return
    if not driver.is_on_this_host():
        raise StudyError(
            f"process {driver.pid} on {driver.host} did not stop within {_KILL_AFTER_S:g} s:"
            f" end it there with `kill -9 {driver.pid}`; nothing recorded is lost"
        )
    if driver.is_alive():  # it is the one that took the lock, not another with its number
        os.kill(driver.pid, signal.SIGKILL)
    if not wait_until_stopped(paths, _KILL_AFTER_S):
        raise StudyError(f"process {driver.pid} cannot be ended: is it yours?")
