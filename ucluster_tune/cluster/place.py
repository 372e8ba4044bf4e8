"""Which Ray a search runs on: one that is named, one that is there, or this machine's own.

Starts nothing and loads no Ray.
"""

import os
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ucluster_tune.config.plan import Machine
from ucluster_tune.errors import MachineError
from ucluster_tune.trial.processes.ray_internals import ADDRESS_FILE

_ADDRESS_VARIABLE = "RAY_ADDRESS"
_PROBE_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Place:
    """Where trials run, and why there.

    Attributes:
        address: host:port of a Ray that runs already; None for one that this process starts.
        why: in words, to be shown.
    """

    address: str | None
    why: str


def this_machine(root: Path = Path("/")) -> Machine:
    """Return the cores that this process may use, and the GPUs: devices that are there.

    CUDA_VISIBLE_DEVICES can hide some, and make none; slices of one (MIG) count as they are named.

    Args:
        root: of the file system in which devices are looked for.
    """
    n_gpus = len(list(root.glob("proc/driver/nvidia/gpus/*")))
    n_gpus = n_gpus or len(list(root.glob("dev/nvidia[0-9]*")))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        listed = [device.strip() for device in visible.split(",")]
        listed = [device for device in listed if device not in ("", "-1")]
        is_sliced = n_gpus > 0 and any(device.startswith("MIG") for device in listed)
        n_gpus = len(listed) if is_sliced else min(n_gpus, len(listed))
    return Machine(n_cpus=len(os.sched_getaffinity(0)), n_gpus=n_gpus)


def choose_place(*, is_local: bool = False, address: str | None = None) -> Place:
    """Return where a search that this process drives runs.

    In this order: this machine where `is_local`, `address`, RAY_ADDRESS, a Ray that
    `ray start` left running on this machine, one that this process starts.

    Raises:
        MachineError: no Ray answers at the address that was named.
    """
    if is_local:
        return Place(None, "as --local says")
    if address is not None:
        return _named(address, f"as --address {address} says")
    from_environment = os.environ.get(_ADDRESS_VARIABLE)
    if from_environment:
        return _named(from_environment, f"as {_ADDRESS_VARIABLE}={from_environment} says")
    running = _running_here()
    if running is not None:
        return Place(running, "Ray runs on this machine already; --local starts another one")
    return Place(None, "no cluster was named, and no Ray runs here")


def _named(address: str, why: str) -> Place:
    """Return the place of an address that somebody typed; `auto` is the Ray of this machine."""
    if address in ("local", ""):
        return Place(None, why)
    if address == "auto":
        running = _running_here()
        if running is None:
            raise MachineError(
                f"{why}, the Ray that runs on this machine is to be used, and none does: start it"
                " with `ray start --head`, or leave the address out"
            )
        return Place(running, why)
    if "://" in address:
        raise MachineError(
            f"{address!r} is no host:port of a Ray head: name the one that `ray start` printed,"
            " such as 10.0.0.1:6379; a search on a far cluster is started with --cluster FILE"
        )
    if not _answers(address):
        raise MachineError(
            f"no Ray answers at {address} ({why}): start its head with `ray start --head`, mend"
            " the address, or force this machine with --local"
        )
    return Place(address, why)


def _running_here() -> str | None:
    """Return the address of the Ray that `ray start --head` left running, None without one."""
    root = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    try:
        address = (root / ADDRESS_FILE).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return address if _answers(address) else None


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_TIMEOUT_S):
            return True
    except (OSError, ValueError, OverflowError):
        return False
