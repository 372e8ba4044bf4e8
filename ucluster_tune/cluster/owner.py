"""The process that owns an embedded Ray: it starts Ray, and takes all of it along when it ends.

Whoever needs Ray is joined to it from another process, and holds a pipe to this one. The system
closes that pipe when the other process ends, however it ends. All processes of Ray, and the
orphans among them, are below this one, so that none is missed, and nobody else's is touched.

None of them hears the signals that ask a search to stop, which a batch system or a service manager
sends to all processes of a job: Ray would be gone before its user could end in order.
"""

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from ucluster_tune.trial.processes.ray_internals import start_no_more_than_needed

_PR_SET_CHILD_SUBREAPER = 36  # of <linux/prctl.h>
_LOOK_EVERY_S = 1.0
_GONE_WITHIN_S = 20.0
_FOR_THE_USER = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
_PACKAGES = Path(__file__).parents[2]
_START = (
    f"import sys; sys.path.insert(0, {str(_PACKAGES)!r});"
    " from ucluster_tune.cluster.owner import own; own()"
)


class RayOwner:
    """The process, as seen by the one that needs its Ray.

    Args:
        options: of `ray.init`.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_THE_USER)  # all below inherit it
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ},  # as it is now: another thread may set variables
                start_new_session=True,  # a terminal's signals are for the process that needs it
                text=True,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._tell(json.dumps(options))

    @property
    def is_whole(self) -> bool:
        """Whether it lives with all of Ray's own processes; it says so where one ends."""
        assert self._process.stdout is not None
        has_told = select.select([self._process.stdout], [], [], 0)[0]
        return self._process.poll() is None and not has_told

    def address(self) -> str:
        """Wait until its Ray has started; return that's host:port.

        Raises:
            RuntimeError: it did not start, with the reason.
        """
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            words = self._process.communicate()[1].strip().splitlines()
            raise RuntimeError(words[-1] if words else "it said nothing")
        return answer.strip()

    def end(self) -> None:
        """Shut its Ray down; return once all is gone."""
        if self._process.poll() is None:
            self._tell("end")
        self._process.communicate()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # somebody killed it
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()


def own() -> None:
    """Start a Ray as standard input says, tell its address, and end it at the next line or none.

    Tells where one of Ray's own processes ends. The others are kept until the user of
    Ray, who may wait for answers of theirs, has ended in its order.
    """
    options = json.loads(sys.stdin.readline())
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    has_started = threading.Event()
    threading.Thread(target=_end_amid_the_start, args=(has_started,), daemon=True).start()
    try:
        import ray  # seconds, which nothing else waits for

        start_no_more_than_needed()
        ray.init(**options)
        has_started.set()
        print(ray.get_runtime_context().gcs_address, flush=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # nobody reads it any more
        rays, is_whole = psutil.Process().children(), True
        while not select.select([sys.stdin], [], [], _LOOK_EVERY_S if is_whole else None)[0]:
            is_whole = all(_lives(process) for process in rays)
            if not is_whole:
                print("one of Ray's own processes has ended", flush=True)
        # Not ray.shutdown: it asks by SIGTERM, which none of them hears, and waits for that.
    finally:
        _kill_all_below()
    os._exit(0)  # Ray would try to take leave of what is gone


def _end_amid_the_start(has_started: threading.Event) -> None:
    """End all where the user of Ray ends before it has started, which can take a minute."""
    while not has_started.wait(_LOOK_EVERY_S):
        if select.select([sys.stdin], [], [], 0)[0]:
            _kill_all_below()
            os._exit(1)


def _kill_all_below() -> None:
    deadline = time.monotonic() + _GONE_WITHIN_S
    while (left := psutil.Process().children(recursive=True)) and time.monotonic() < deadline:
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        with suppress(ChildProcessError):  # orphans, which are this process's children now
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.01)


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):  # it may end between the two questions
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
