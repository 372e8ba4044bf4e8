"""What this machine has. Loads no Ray."""

import os
from pathlib import Path

from ucluster_tune.config.plan import Machine


def this_machine() -> Machine:
    """Return the cores that this process may use, and the GPUs."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        folder = Path("/proc/driver/nvidia/gpus")
        n_gpus = len(list(folder.iterdir())) if folder.is_dir() else 0
    else:
        n_gpus = len([device for device in visible.split(",") if device.strip() not in ("", "-1")])
    return Machine(n_cpus=len(os.sched_getaffinity(0)), n_gpus=n_gpus)
