"""What a node tells of itself, by code that travels to the node.

This module and `trial.processes.host` are sent by value, so that a node on which this package is
missing, or is another one, still answers. So it is plain Python: nothing else of this package is
imported but where the answer may be that it cannot be, and answers are plain values.
"""

import hashlib
import importlib.metadata
import importlib.util
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ucluster_tune.trial.processes.host import interfaces, unresolved_name

_DISTRIBUTIONS = {
    "ray": ("ray",),
    "tensorflow": ("tensorflow", "tensorflow-cpu"),
    "horovod": ("horovod",),
}
_CLUSTER_FILE = Path("~/ray_bootstrap_config.yaml")
_LOOK_AT_LIBRARIES = """
import horovod.tensorflow
import tensorflow as tf
print("GPUS", len(tf.config.list_physical_devices("GPU")))
"""


class Probe:
    """An actor on one node."""

    def facts(self, questions: dict[str, Any]) -> dict[str, Any]:
        """Return all that is quickly known.

        Args:
            questions: `token_folder`, `token` and `node_id` of the shared folder, `data` of the
                data set; each may be None.
        """
        return {
            "host_fault": unresolved_name(),
            "versions": versions(),
            "interfaces": {
                name: numbers
                for name, numbers in interfaces().items()
                if not all(number.startswith("127.") for number in numbers)
            },
            "n_gpu_devices": n_gpu_devices(),
            "disk_free": shutil.disk_usage(tempfile.gettempdir()).free,
            "memory_free": memory_free(),
            "shared": answer_token(questions) if questions["token_folder"] else None,
            "data": data_checksum(questions["data"]) if questions["data"] else None,
        }

    def libraries(self, limit_s: float) -> dict[str, Any]:
        """Return how many GPUs TensorFlow sees, or why TensorFlow or Horovod do not load.

        In a process of its own: TensorFlow takes a GPU's memory, and a broken one may crash.
        """
        # Horovod as it is asks for Keras, which a process of ours may have had left out.
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "0"}
        if not environment.get("CUDA_VISIBLE_DEVICES", "0"):
            del environment["CUDA_VISIBLE_DEVICES"]  # Ray's, for a process without a GPU
        try:
            done = subprocess.run(
                [sys.executable, "-c", _LOOK_AT_LIBRARIES],
                env=environment,
                capture_output=True,
                text=True,
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"fault": f"not loaded within {limit_s:g} s"}
        for line in done.stdout.splitlines():
            if line.startswith("GPUS "):
                return {"n_gpus": int(line.split()[1]), "fault": None}
        last = done.stderr.strip().splitlines()[-1:] or [f"ended with {done.returncode}"]
        return {"fault": last[0][:300]}

    def n_workers_at_most(self) -> float:
        """Return how many nodes an autoscaler on this head may have beside it, 0 without one.

        `ray up` puts its file onto the head under the name that Ray is started with there.
        """
        import yaml  # may be missing on the node

        if "KUBERNETES_SERVICE_HOST" in os.environ:  # KubeRay's own limits are not to be seen
            return math.inf
        try:
            text = _CLUSTER_FILE.expanduser().read_text(encoding="utf-8")
            return float(yaml.safe_load(text)["max_workers"])
        except FileNotFoundError:
            return 0
        except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError):
            return math.inf


def versions() -> dict[str, str | None]:
    """Return versions by name, None for what is missing; imports nothing of it."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name, distributions in _DISTRIBUTIONS.items():
        found[name] = None
        for distribution in distributions:
            try:
                found[name] = importlib.metadata.version(distribution)
                break
            except importlib.metadata.PackageNotFoundError:
                continue
    found["ucluster_tune"] = package_version()
    return found


def package_version() -> str | None:
    """Return the version of this package as it would be imported, with a digest of its code."""
    spec = importlib.util.find_spec("ucluster_tune")
    if spec is None or not spec.submodule_search_locations:
        return None
    root = Path(next(iter(spec.submodule_search_locations)))
    digest, version = hashlib.sha256(), "unknown version"
    for file in sorted(root.rglob("*.py")):
        code = file.read_bytes()
        digest.update(f"{file.relative_to(root)} {len(code)} ".encode() + code)
        if file == root / "__init__.py" and b'__version__ = "' in code:
            version = code.partition(b'__version__ = "')[2].partition(b'"')[0].decode()
    return f"{version} (code {digest.hexdigest()[:8]})"


def n_gpu_devices() -> int | None:
    """Return how many GPUs the system has for TensorFlow; None where that cannot be told."""
    if Path("/dev/dxg").exists() or Path("/dev/kfd").exists():  # Windows' and AMD's ways
        return None
    in_proc = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    return max(len(list(Path("/dev").glob("nvidia[0-9]*"))), in_proc)


def memory_free() -> int:
    """Return the bytes of memory that this node can still give, within its container's limit."""
    import psutil

    free = int(psutil.virtual_memory().available)
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii").strip()
        return min(free, max(0, int(limit) - int(used)))
    except (OSError, ValueError):  # no limit, or one of an older kind
        return free


def answer_token(questions: dict[str, Any]) -> dict[str, str | None]:
    """Return what is wrong with the shared folder, once this node's answer lies in it."""
    folder, token, node_id = (questions[name] for name in ("token_folder", "token", "node_id"))
    if "://" in folder:
        return _answer_in_store(folder, token, node_id)
    try:
        if Path(folder, "driver").read_text(encoding="ascii") != token:
            return {"fault": "other", "detail": None}
    except FileNotFoundError:
        is_there = Path(folder).parent.is_dir()
        return {"fault": "other" if is_there else "missing", "detail": None}
    except OSError as error:
        return {"fault": "unreadable", "detail": error.strerror}
    try:
        Path(folder, node_id).write_text(token, encoding="ascii")
    except OSError as error:
        return {"fault": "not writable", "detail": error.strerror}
    return {"fault": None, "detail": None}


def _answer_in_store(folder: str, token: str, node_id: str) -> dict[str, str | None]:
    try:
        from ucluster_tune.errors import MissingError
        from ucluster_tune.storage.locations import locate

        place = locate(folder)
        try:
            if (place / "driver").read_bytes() != token.encode():
                return {"fault": "other", "detail": None}
        except MissingError:
            return {"fault": "other", "detail": None}
        (place / node_id).write_bytes(token.encode())
    except Exception as error:  # noqa: BLE001  # told as this node's answer
        return {"fault": "unusable", "detail": f"{error}"}
    return {"fault": None, "detail": None}


def data_checksum(path: str) -> dict[str, str | None]:
    """Return the checksum of the data set there, or why it cannot be read."""
    try:
        from ucluster_tune.data.format.manifest import read_manifest

        return {"checksum": read_manifest(path).dataset_checksum, "fault": None}
    except Exception as error:  # noqa: BLE001  # told as this node's answer
        return {"checksum": None, "fault": f"{error}"}
