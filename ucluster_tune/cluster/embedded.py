"""An embedded Ray on this machine, for the time of a search."""

import logging
import os
import signal
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from ucluster_tune.errors import MachineError

_OBJECT_STORE_BYTES = 200 * 1024 * 1024  # records are small; jets are read by the workers

_ENVIRONMENT = {
    # Under `uv run` Ray would build the environment anew for every worker.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # A thread that comes too late must get an error, not a Ray of its own.
    "RAY_ENABLE_AUTO_CONNECT": "0",
    # Tune's own tables and log files: ours are better informed.
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # A trial that failed ends with a result that has no accuracy.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # A search ends in its own order at Ctrl-C.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # The journal is what a search goes on from: Tune's own state of all trials, which takes the
    # longer the more there are, is written at the start and at the end alone.
    "TUNE_GLOBAL_CHECKPOINT_S": "inf",
    # Ray must not blank CUDA_VISIBLE_DEVICES of tasks that ask for no GPU.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


# On the loopback interface alone, which also lasts when a laptop changes its network; Ray
# offers that under this name, and replaces 127.0.0.1 by another address otherwise.
_LOOPBACK_ALONE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


def prepare_environment(*, is_embedded: bool = True) -> None:
    """Set what Ray reads when it is imported; the user's own settings win.

    Args:
        is_embedded: whether Ray is to be one of this process's own.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if is_embedded:
        os.environ.setdefault(_LOOPBACK_ALONE, "0")
    else:
        # Each try of a Ray that does not answer takes most of a minute, and Ray makes 20.
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "2")


class EmbeddedRay:
    """The Ray that this process started."""

    def __init__(self) -> None:
        self._raylets = [p for p in psutil.Process().children() if _name(p) == "raylet"]

    def refuse_dead(self) -> None:
        """Raise MachineError where Ray's own process is gone: Tune would wait for another node."""
        for raylet in self._raylets:
            if not _lives(raylet):
                raise MachineError(
                    "Ray on this machine ended: its process raylet crashed or was killed, perhaps"
                    " for want of memory; look into /tmp/ray/session_latest/logs"
                )


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):  # it may end between the two questions
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _name(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return process.name()
    return ""


@contextmanager
def embedded_ray(n_cpus: int) -> Iterator[EmbeddedRay]:
    """Start Ray on the loopback interface; shut it down at the end, workers included.

    Raises:
        MachineError: Ray does not start.
    """
    prepare_environment()
    import ray  # noqa: PLC0415  # after its environment

    if not logging.getLogger().handlers:  # nobody keeps a log
        logging.getLogger("ray").setLevel(logging.ERROR)
    with _all_ends_with_this_process():
        try:
            with _ctrl_c_held_back():
                ray.init(
                    address="local",  # not one that runs here already, or did once
                    num_cpus=n_cpus,
                    include_dashboard=False,
                    _node_ip_address="127.0.0.1",
                    object_store_memory=_OBJECT_STORE_BYTES,
                    log_to_driver=False,
                    configure_logging=False,  # the caller says where the log goes
                )
        except (RuntimeError, OSError, ValueError, ray.exceptions.RayError) as error:
            raise MachineError(
                f"Ray did not start on this machine: {error};"
                " look into /tmp/ray/session_latest/logs"
            ) from error
        except KeyboardInterrupt:
            ray.shutdown()
            raise
        try:
            yield EmbeddedRay()
        finally:
            ray.shutdown()


@contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Have Ctrl-C wait for the end of the block, seconds; a second one does not wait.

    Amid its start Ray cannot be ended: the process would crash later, when it shuts Ray down.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield  # only the main thread is interrupted, and only where Ctrl-C is not ignored
        return
    is_pressed = False

    def hold_back(_number: int, _frame: object) -> None:
        nonlocal is_pressed
        if is_pressed:
            raise KeyboardInterrupt
        is_pressed = True

    signal.signal(signal.SIGINT, hold_back)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if is_pressed:
        signal.raise_signal(signal.SIGINT)


class _Watcher:
    """A shell that waits at a pipe, which the system closes when this process ends.

    It kills what it knows to be of Ray then: all that has a mark in its environment, and the
    agents, which write their titles over it, by the logs that they have open: the name of Ray's
    session ends in this process's number.
    """

    _SCRIPT = """
        read -r line && exit
        for again in 1 2 3; do
            for process in /proc/[0-9]*; do
                if grep -qsazxF "$0" "$process/environ" || {
                    grep -qs Agent "$process/cmdline" &&
                    ls -l "$process/fd" 2>/dev/null | grep -q "/session_[^/]*_$1/logs/"
                }; then kill -KILL "${process#/proc/}"; fi
            done
            sleep 1
        done
    """

    def __init__(self, mark: str) -> None:
        self._process = subprocess.Popen(
            ["sh", "-c", self._SCRIPT, mark, str(os.getpid())],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", os.defpath)},  # without the mark
            start_new_session=True,  # Ctrl-C is for this process alone
            text=True,
        )

    def end(self) -> None:
        """End the shell; nothing is killed."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # somebody killed it
            self._process.stdin.write("end\n")
            self._process.stdin.flush()
        self._process.communicate()


@contextmanager
def _all_ends_with_this_process() -> Iterator[None]:
    """End all processes of Ray with this one, should it be killed, from the start of the first.

    The system ends most of them, but some would try for a minute to tell a server that is gone.
    """
    name, value = "UCLUSTER_TUNE_RAY", uuid.uuid4().hex
    watcher = _Watcher(f"{name}={value}")
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        watcher.end()
