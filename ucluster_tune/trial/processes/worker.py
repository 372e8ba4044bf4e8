"""One Horovod worker of a trial: what runs inside a worker process.

The module loads without TensorFlow, so that the trainable can name the class; TensorFlow comes in
when the worker is made, in its own process.
"""

import logging
import os
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ucluster_tune.config.objective import ObjectiveConfig
from ucluster_tune.config.trial import TrialConfig
from ucluster_tune.errors import MachineError, UClusterTuneError
from ucluster_tune.storage.folders import PATIENCE_S
from ucluster_tune.trial.files import TrialFiles
from ucluster_tune.trial.processes.host import unresolved_name

if TYPE_CHECKING:
    from ucluster_tune.trial.checkpointed import CheckpointedTraining

_LOGGER = logging.getLogger(__name__)
_SEND_LOG_EVERY_S = 15.0


class TrainingWorker:
    """Trains as one rank of the Horovod job that this process was started for.

    Args:
        config: the trial's, as plain values.
        folder: of the trial, a path or URI; the same for all ranks.
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
        files = TrialFiles.at(folder, PATIENCE_S)
        files.root.mkdir(parents=True, exist_ok=True)
        log_to_file(files.workers_log)
        self._log = LogSender(files)
        try:
            self._training = self._begin(
                config, files, n_threads, objective, use_gpu, cpu_fallback
            )
        except BaseException:
            self._log.send()
            raise

    def _begin(
        self,
        config: dict[str, Any],
        files: TrialFiles,
        n_threads: int,
        objective: dict[str, Any],
        use_gpu: bool,
        cpu_fallback: bool,
    ) -> "CheckpointedTraining":
        refuse_unresolved_host()

        from ucluster_tune.training.device import use_devices  # noqa: PLC0415  # TensorFlow
        from ucluster_tune.training.group import HorovodGroup  # noqa: PLC0415
        from ucluster_tune.trial.checkpointed import CheckpointedTraining  # noqa: PLC0415

        group = HorovodGroup()
        use_devices(n_threads, group.local_rank if use_gpu else None, cpu_fallback)
        _LOGGER.info("rank %d of %d on %s", group.rank, group.world_size, socket.gethostname())
        if group.local_rank == 0:  # one log a machine, and one that sends it
            self._log.start()
        return CheckpointedTraining(
            TrialConfig(**config), files, ObjectiveConfig(**objective), group
        )

    def run_epoch(self) -> dict[str, Any]:
        """Return the record of the next epoch."""
        try:
            record = self._training.run_epoch()
        except BaseException:
            self._log.send()
            raise
        self._log.wake()
        return record

    def restored(self) -> list[dict[str, Any]]:
        """Return the records up to the epoch whose checkpoint the worker started from."""
        return self._training.restored


class LogSender:
    """Puts the log of this machine's workers into the trial's bucket, now and then, in a thread.

    Without a bucket it does nothing.

    Args:
        files: of the trial.
    """

    def __init__(self, files: TrialFiles) -> None:
        self._files = files
        self._wakes = threading.Event()
        self._sent_bytes = 0

    def start(self) -> None:
        """Begin to send what is new, every few seconds."""
        if self._files.remote is not None:
            threading.Thread(target=self._work, name="send-log", daemon=True).start()

    def wake(self) -> None:
        """Have what is new sent now; does not wait for it."""
        self._wakes.set()

    def send(self) -> None:
        """Send what is new; a log that cannot be sent is no reason to fail."""
        if self._files.remote is None:
            return
        n_bytes = self._files.workers_log.stat().st_size
        if n_bytes == self._sent_bytes:
            return
        try:
            self._files.send_log()
            self._sent_bytes = n_bytes
        except (UClusterTuneError, OSError) as error:
            _LOGGER.warning("this log is not in the bucket yet: %s", error)

    def _work(self) -> None:
        while True:
            self._wakes.wait(_SEND_LOG_EVERY_S)
            self._wakes.clear()
            self.send()


def refuse_unresolved_host() -> None:
    """Raise MachineError where the host cannot resolve its own name: Gloo would crash there."""
    fault = unresolved_name()
    if fault is not None:
        host = socket.gethostname()
        raise MachineError(
            f"host {host!r} cannot resolve its own name ({fault}): Horovod needs that;"
            f" add the line `127.0.1.1 {host}` to /etc/hosts"
        )


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
