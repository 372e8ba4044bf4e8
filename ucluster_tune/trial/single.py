"""One configuration trained from beginning to end, by this process or by a group of workers."""

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ucluster_tune.config.one_trial import trial_config_of
from ucluster_tune.config.study import StudyConfig
from ucluster_tune.training.record import EpochRecord
from ucluster_tune.trial.files import TrialFiles

OnStep = Callable[[int, int], None]


def train_here(study: StudyConfig, files: TrialFiles, on_step: OnStep) -> Iterator[EpochRecord]:
    """Yield the record of each epoch that is left to run, trained in this process."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from ucluster_tune.training.device import use_devices  # noqa: PLC0415  # TensorFlow
    from ucluster_tune.training.group import OneWorker  # noqa: PLC0415
    from ucluster_tune.trial.checkpointed import CheckpointedTraining  # noqa: PLC0415

    use_devices(
        max(1, math.floor(study.resources.cpus_per_worker)),
        0 if study.resources.gpus_per_worker > 0 else None,
        study.resources.cpu_fallback,
    )
    training = CheckpointedTraining(trial_config_of(study), files, study.objective, OneWorker())
    while not training.is_done:
        yield training.run_epoch(on_step)


def train_with_workers(study: StudyConfig, files: TrialFiles) -> Iterator[EpochRecord]:
    """Yield the same, trained by Horovod workers in a Ray that was started."""
    from ucluster_tune.trial.processes.workers import HorovodWorkers  # noqa: PLC0415  # Ray and Horovod

    config = trial_config_of(study)
    workers = HorovodWorkers(config, str(files.root), study.resources, study.objective)
    workers.start()
    try:
        restored = workers.restored()
        for _ in range(restored[-1].epoch if restored else 0, config.training.n_epochs):
            yield workers.run_epoch()
    finally:
        workers.kill()


def measure_on_test(study: StudyConfig, checkpoint: Path) -> dict[str, Any]:
    """Return the quality of a checkpoint's clusters on the test jets."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from ucluster_tune.trial.checkpointed import measure  # noqa: PLC0415  # TensorFlow

    return measure(trial_config_of(study), str(checkpoint), "test")
