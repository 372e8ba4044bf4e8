"""A training that is to be done, and the one road to the records of its epochs.

Whoever does it, this process or Horovod workers, is given the same task. Loads no TensorFlow, Ray
or Horovod before they are needed.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from ucluster_tune.config.objective import ObjectiveConfig
from ucluster_tune.config.study import ResourcesConfig
from ucluster_tune.config.trial import TrialConfig
from ucluster_tune.model.start import prepare_start
from ucluster_tune.training.record import EpochRecord

OnStep = Callable[[int, int], None]


@dataclass(frozen=True)
class TrainingTask:
    """What is trained, and where that is kept; sent to workers as it is.

    Attributes:
        config: network, jets and schedules.
        folder: path or URI of its files, the same for all ranks.
        objective: what makes an epoch the best.
        most_neighbors: k up to which first neighbours are searched for at once, since trainings
            that may follow in the same processes need them.
        start: path or URI of another training's checkpoint from which it begins; None for new
            weights.
        kept_epochs: whose checkpoints stay, since other trainings may begin from them.
    """

    config: TrialConfig
    folder: str
    objective: ObjectiveConfig
    most_neighbors: int = 0
    start: str | None = None
    kept_epochs: frozenset[int] = frozenset()


class TrainingProcesses(Protocol):
    """Processes that are given a training, and another one after it has ended."""

    def begin(self, task: TrainingTask) -> list[EpochRecord]:
        """Return the last records up to the epoch that the training goes on from, in order."""

    def run_epoch(self) -> EpochRecord:
        """Return the record of the next epoch."""

    def end(self) -> None:
        """Let go of the training and of all that was kept for it."""


def epochs_of(task: TrainingTask, processes: TrainingProcesses) -> Iterator[EpochRecord]:
    """Yield the record of each epoch that is left to run."""
    restored = processes.begin(task)
    epoch = restored[-1].epoch if restored else 0
    while epoch < task.config.training.n_epochs:
        record = processes.run_epoch()
        epoch = record.epoch
        yield record
    processes.end()


@contextmanager
def training_processes(
    resources: ResourcesConfig, log_folder: str, on_step: OnStep | None = None
) -> Iterator[TrainingProcesses]:
    """Give what trains: this process where it is to be one, or Horovod workers in its Ray.

    Args:
        resources: workers, CPUs and GPUs.
        log_folder: path or URI of the folder where workers write what they have to say.
        on_step: told of steps, by this process alone.
    """
    prepare_start()
    if resources.n_workers == 1:
        from ucluster_tune.trial.processes.training_process import this_process  # TensorFlow

        yield this_process(resources, on_step)
        return
    from ucluster_tune.trial.processes.workers import HorovodWorkers  # Ray and Horovod

    workers = HorovodWorkers(resources, log_folder)
    workers.start()
    try:
        yield workers
    finally:
        workers.kill()


def n_threads(resources: ResourcesConfig) -> int:
    """Return the threads of a worker.

    >>> [n_threads(ResourcesConfig(cpus_per_worker=n)) for n in (0.5, 2.0)]
    [1, 2]
    """
    return max(1, math.floor(resources.cpus_per_worker))
