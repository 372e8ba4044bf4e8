"""One process that trains, alone or as one of a group; it outlives the trainings in it.

What it keeps of one for the next is the jets in memory, as long as the next one reads the same.
Loads TensorFlow.
"""

import gc

from ucluster_tune.config.study import ResourcesConfig
from ucluster_tune.data.feeding.kept_jets import KeptJets
from ucluster_tune.training.device import use_devices
from ucluster_tune.training.group import Group, OneWorker
from ucluster_tune.training.record import EpochRecord
from ucluster_tune.training.tensorflow_internals import forget_traced_gradients
from ucluster_tune.trial.training_run import TrainingRun
from ucluster_tune.trial.training_task import OnStep, TrainingTask, n_threads


class TrainingProcess:
    """Runs one training after another as one rank of a group.

    Args:
        group: the workers.
        on_step: told of steps.
    """

    def __init__(self, group: Group, on_step: OnStep | None = None) -> None:
        self._group, self._on_step = group, on_step
        self._kept = KeptJets()
        self._run: TrainingRun | None = None

    def begin(self, task: TrainingTask) -> list[EpochRecord]:
        """Return the last records up to the epoch whose checkpoint training goes on from."""
        assert self._run is None, "the training before has not ended"
        self._kept.most_neighbors = task.most_neighbors
        self._run = TrainingRun(task, self._group, self._kept)
        return self._run.restored

    def run_epoch(self) -> EpochRecord:
        """Return the record of the next epoch."""
        assert self._run is not None, "no training has begun"
        return self._run.run_epoch(self._on_step)

    def end(self) -> None:
        """Let go of the training: network and traced functions leave the memory."""
        self._run = None
        forget_traced_gradients()
        gc.collect()  # functions and what they were traced for know each other


def this_process(resources: ResourcesConfig, on_step: OnStep | None = None) -> TrainingProcess:
    """Return this process as one that trains alone, on as much of the machine as it may use."""
    use_given_devices(resources, local_rank=0)
    return TrainingProcess(OneWorker(), on_step)


def use_given_devices(resources: ResourcesConfig, local_rank: int) -> None:
    """Limit TensorFlow to what a worker is given, before it does anything.

    Raises:
        MachineError: a GPU was promised that TensorFlow does not see.
    """
    use_devices(
        n_threads(resources),
        local_rank if resources.gpus_per_worker > 0 else None,
        resources.cpu_fallback,
    )
