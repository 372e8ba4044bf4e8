"""One Horovod worker of a trial: what runs inside a worker process.

The module loads without TensorFlow, so that the trainable can name the class; TensorFlow comes in
when the worker is made, in its own process.
"""

import logging
import os
import socket
import sys
from pathlib import Path
from typing import Any

from ucluster_tune.config.study import ObjectiveConfig
from ucluster_tune.config.trial import TrialConfig
from ucluster_tune.errors import MachineError
from ucluster_tune.trial.files import TrialFiles

_LOGGER = logging.getLogger(__name__)


class TrainingWorker:
    """Trains as one rank of the Horovod job that this process was started for.

    Args:
        config: the trial's, as plain values.
        folder: of the trial; the same for all ranks.
        n_threads: that TensorFlow may use.
        objective: what makes an epoch the best (of `ObjectiveConfig`).
        use_gpu: whether Ray gave this worker a GPU.
        cpu_fallback: whether the CPU will do where TensorFlow sees none.
    """

    def __init__(
        self,
        config: dict[str, Any],
        folder: str,
        n_threads: int,
        objective: dict[str, Any],
        use_gpu: bool,
        cpu_fallback: bool = False,
    ) -> None:
        files = TrialFiles(Path(folder))
        files.root.mkdir(parents=True, exist_ok=True)
        log_to_file(files.workers_log)
        refuse_unresolved_host()

        from ucluster_tune.training.device import use_devices  # noqa: PLC0415  # TensorFlow
        from ucluster_tune.training.group import HorovodGroup  # noqa: PLC0415
        from ucluster_tune.trial.checkpointed import CheckpointedTraining  # noqa: PLC0415

        group = HorovodGroup()
        use_devices(n_threads, group.local_rank if use_gpu else None, cpu_fallback)
        _LOGGER.info("rank %d of %d on %s", group.rank, group.world_size, socket.gethostname())
        self._training = CheckpointedTraining(
            TrialConfig(**config), files, ObjectiveConfig(**objective), group
        )

    def run_epoch(self) -> dict[str, Any]:
        """Return the record of the next epoch."""
        return self._training.run_epoch()

    def restored(self) -> dict[str, Any] | None:
        """Return the record of the epoch whose checkpoint the worker started from."""
        return self._training.restored


def refuse_unresolved_host() -> None:
    """Raise MachineError where the host cannot resolve its own name: Gloo would crash there."""
    host = socket.gethostname()
    try:
        socket.getaddrinfo(host, None)
    except OSError as error:
        raise MachineError(
            f"host {host!r} cannot resolve its own name ({error}): Horovod needs that;"
            f" add the line `127.0.1.1 {host}` to /etc/hosts"
        ) from error


def log_to_file(path: Path) -> None:
    """Send this process's output, that of C++ included, and its log to the end of a file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(process)d %(levelname)s %(message)s",
        stream=sys.stderr,
        force=True,
    )
