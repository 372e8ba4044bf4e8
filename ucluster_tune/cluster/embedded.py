"""An embedded Ray on this machine, for the time of a search."""

import logging
import os
import secrets
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ucluster_tune.cluster.owner import RayOwner
from ucluster_tune.errors import MachineError
from ucluster_tune.trial.processes.ray_internals import (
    ENVIRONMENT,
    LOOPBACK_ALONE,
    N_TRIES_TO_JOIN,
    NODE_ADDRESS,
    TEMPORARY_FOLDER,
)

_OBJECT_STORE_BYTES = 200 * 1024 * 1024  # records are small; jets are read by the workers

# The caller says where the log goes.
_QUIET: Final[dict[str, Any]] = {"log_to_driver": False, "configure_logging": False}

_MAX_FOLDER = 40  # a socket's path has at most 107 bytes, of which Ray takes some 65
_LIBRARIES = (
    *("ray", "horovod", "tensorflow", "keras", "numpy", "scipy", "sklearn", "pandas", "pyarrow"),
    *("mlflow", "optuna", "pydantic", "yaml", "psutil", "cloudpickle", "h5py"),
)


def prepare_environment(*, is_embedded: bool = True) -> None:
    """Set what Ray reads when it is imported; the user's own settings win.

    Args:
        is_embedded: whether Ray is to be one of this process's own.
    """
    _refuse_shadows()
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if is_embedded:
        os.environ.setdefault(LOOPBACK_ALONE, "0")
        # As Ray does by itself where it starts, for this process joins what another one starts.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ) and not _has_home():
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # Ray keeps it in ~/.ray
    else:
        # Each try of a Ray that does not answer takes most of a minute, and Ray makes 20.
        os.environ.setdefault(N_TRIES_TO_JOIN, "2")


def _refuse_shadows() -> None:
    """Raise MachineError for a file here that Ray's workers would load in place of a library."""
    for name in _LIBRARIES:
        for file in (Path(f"{name}.py"), Path(name, "__init__.py")):
            if file.exists():
                raise MachineError(
                    f"{file.absolute()} would be loaded in place of the library {name}: rename it,"
                    " or type the command in another folder"
                )


def _has_home() -> bool:
    """Return whether Ray can keep its token in the home folder, or has one there."""
    try:
        folder = Path.home() / ".ray"
        folder.mkdir(exist_ok=True)
        return (folder / "auth_token").exists() or os.access(folder, os.W_OK)
    except (OSError, RuntimeError):  # RuntimeError: the system knows none
        return False


def ray_folder() -> Path:
    """Return the folder for Ray's files: the first that can be written and has a short name.

    Raises:
        MachineError: there is none.
    """
    named = [os.environ.get(name) for name in ("RAY_TMPDIR", "TMPDIR")]
    for folder in (*named, "/tmp", "/var/tmp", "/dev/shm"):
        if folder and len(os.path.abspath(folder)) <= _MAX_FOLDER and os.access(folder, os.W_OK):  # noqa: PTH100 (follows no link)
            return Path(folder).absolute() / "ray"
    raise MachineError(
        f"Ray needs a folder for its sockets, with a path of at most {_MAX_FOLDER} characters:"
        " neither RAY_TMPDIR, TMPDIR, /tmp, /var/tmp nor /dev/shm can be written; set RAY_TMPDIR"
        " to one that can"
    )


class EmbeddedRay:
    """The Ray that this process started.

    Args:
        owner: the process that has it.
        folder: of Ray's files.
    """

    def __init__(self, owner: RayOwner, folder: Path) -> None:
        self._owner, self._folder = owner, folder

    def refuse_dead(self) -> None:
        """Raise MachineError where Ray's own process is gone: Tune would wait for another node."""
        if not self._owner.is_whole:
            raise MachineError(
                "Ray on this machine ended: one of its own processes crashed or was killed,"
                f" perhaps for want of memory; look into {self._folder}/session_latest/logs"
            )


@contextmanager
def embedded_ray(n_cpus: int, n_gpus: int = 0) -> Iterator[EmbeddedRay]:
    """Start Ray on the loopback interface; shut it down at the end, workers included.

    Args:
        n_cpus, n_gpus: that it may give to trials; Ray counts none itself.

    Raises:
        MachineError: Ray does not start.
    """
    prepare_environment()
    import ray  # after its environment

    if not logging.getLogger().handlers:  # nobody keeps a log
        logging.getLogger("ray").setLevel(logging.ERROR)
    folder = ray_folder()
    owner = RayOwner(
        {
            TEMPORARY_FOLDER: str(folder),
            "address": "local",  # not one that runs here already, or did once
            "num_cpus": n_cpus,
            "num_gpus": n_gpus,
            "include_dashboard": False,
            NODE_ADDRESS: "127.0.0.1",
            "object_store_memory": _OBJECT_STORE_BYTES,
            **_QUIET,
        }
    )
    try:
        try:
            address = owner.address()
            with _ctrl_c_held_back():
                ray.init(address=address, **_QUIET)
        except (RuntimeError, OSError, ValueError, ray.exceptions.RayError) as error:
            raise MachineError(
                f"Ray did not start on this machine: {error}; its files are in {folder}"
                + _if_busy()
            ) from error
        yield EmbeddedRay(owner, folder)
    finally:
        ray.shutdown()
        owner.end()


def _if_busy() -> str:
    """Return what to do where other work takes the CPUs: Ray waits 30 s for its own processes."""
    load, n_cpus = os.getloadavg()[0], os.cpu_count() or 1
    if load < 2 * n_cpus:
        return ""
    return f". {load:.0f} processes want this machine's {n_cpus} CPUs: try again when fewer do"


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
