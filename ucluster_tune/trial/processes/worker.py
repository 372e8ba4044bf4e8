"""What runs inside the process of a Horovod worker.

The module loads without TensorFlow, so that whoever starts workers can name the class; TensorFlow
comes in when the worker is made, in its own process.
"""

import logging
import os
import socket

import psutil

from ucluster_tune.config.study import ResourcesConfig
from ucluster_tune.errors import MachineError
from ucluster_tune.storage.folders import PATIENCE_S
from ucluster_tune.training.record import EpochRecord
from ucluster_tune.trial.files import TrialFiles
from ucluster_tune.trial.processes.failures import told_by_type
from ucluster_tune.trial.processes.host import unresolved_name
from ucluster_tune.trial.processes.log import ProcessLog
from ucluster_tune.trial.training_task import TrainingTask

_LOGGER = logging.getLogger(__name__)


class HorovodWorker:
    """One rank of the Horovod job that this process was started for.

    Args:
        resources: what it is given.
        log_folder: path or URI of the folder where it writes of its start.
    """

    def __init__(self, resources: ResourcesConfig, log_folder: str) -> None:
        self._rank = int(os.environ["HOROVOD_RANK"])
        self._first_mib: float | None = None
        with told_by_type(self._rank):
            self._log = ProcessLog()
            self._log.lead_to(TrialFiles.at(log_folder, PATIENCE_S))
            try:
                self._join(resources)
            except BaseException:
                self._log.send()
                raise

    def _join(self, resources: ResourcesConfig) -> None:
        refuse_unresolved_host()

        from ucluster_tune.training.group import HorovodGroup  # TensorFlow
        from ucluster_tune.trial.processes.training_process import (
            TrainingProcess,
            use_given_devices,
        )

        self._group = HorovodGroup()
        use_given_devices(resources, self._group.local_rank)
        self._process = TrainingProcess(self._group)

    def begin(self, task: TrainingTask) -> list[EpochRecord]:
        """Return the last records up to the epoch whose checkpoint the training goes on from."""
        with told_by_type(self._rank):
            self._log.lead_to(TrialFiles.at(task.folder, PATIENCE_S))
            try:
                group = self._group
                host = socket.gethostname()
                _LOGGER.info("rank %d of %d on %s", group.rank, group.world_size, host)
                if group.local_rank == 0:  # one log a machine, and one that sends it
                    self._log.send_regularly()
                return self._process.begin(task)
            except BaseException:
                self._log.send()
                raise

    def run_epoch(self) -> EpochRecord:
        """Return the record of the next epoch."""
        with told_by_type(self._rank):
            try:
                record = self._process.run_epoch()
            except BaseException:
                self._log.send()
                raise
            self._log.wake()
            return record

    def end(self) -> float:
        """Let go of the training, and of its log.

        Returns:
            By how many MiB this process has grown since its first training ended.
        """
        with told_by_type(self._rank):
            self._process.end()
            self._log.leave()
            memory_mib = psutil.Process().memory_info().rss / 2**20
            if self._first_mib is None:
                self._first_mib = memory_mib
            return memory_mib - self._first_mib


def refuse_unresolved_host() -> None:
    """Raise MachineError where the host cannot resolve its own name: Gloo would crash there."""
    fault = unresolved_name()
    if fault is not None:
        host = socket.gethostname()
        raise MachineError(
            f"host {host!r} cannot resolve its own name ({fault}): Horovod needs that;"
            f" add the line `127.0.1.1 {host}` to /etc/hosts"
        )
