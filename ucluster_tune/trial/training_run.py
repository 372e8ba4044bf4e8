"""One training in a process: it keeps a checkpoint of each epoch and goes on from the last one.

The same for a worker of a trial and for `ucluster-tune train`. What outlives it is the process
(`trial.processes`). Loads TensorFlow.
"""

import logging
from dataclasses import replace
from typing import Any

import numpy as np

from ucluster_tune.config.trial import TrialConfig
from ucluster_tune.data.feeding.kept_jets import KeptJets
from ucluster_tune.data.reading.dataset import open_dataset
from ucluster_tune.storage.folders import PATIENCE_S
from ucluster_tune.training.checkpoint import Checkpoint
from ucluster_tune.training.group import Group, OneWorker
from ucluster_tune.training.record import EpochRecord, best_record, label_free_record
from ucluster_tune.training.trainer import OnStep, Trainer
from ucluster_tune.training.yardsticks import with_interval
from ucluster_tune.trial.files import TrialFiles, read_checkpoint_at
from ucluster_tune.trial.training_task import TrainingTask

_LOGGER = logging.getLogger(__name__)
# Seconds may pass until what a driver knows lies in a bucket, and epochs may be short.
_N_EARLIER = 20
_SPLITS = ("train", "validation")  # test jets are measured once a study


class TrainingRun:
    """One rank's share in a training.

    Keeps the files of the last two epochs, of the best one so far, of the best one by what needs
    no labels, and of those that the task names.

    Args:
        task: what is trained; the same for all ranks.
        group: the workers.
        kept: what trainings before it left in memory.

    Attributes:
        files: where all of it is kept.
        restored: the records of the epoch whose checkpoint training went on from, and of some
            epochs before it, in order; none where training began.
    """

    def __init__(self, task: TrainingTask, group: Group, kept: KeptJets | None = None) -> None:
        self.files = TrialFiles.at(task.folder, PATIENCE_S)
        self._task, self._objective, self._group = task, task.objective, group
        dataset = open_dataset(task.config.data, _SPLITS)
        self._trainer = Trainer(task.config, dataset, group, kept)
        self._best: EpochRecord | None = None
        self._label_free: EpochRecord | None = None
        self.restored: list[EpochRecord] = []
        checkpoint = self._agreed_checkpoint()
        if checkpoint is None and task.start is not None:
            # What it begins from is the same for all ranks, and the other training's to tell of.
            self._trainer.restore(read_checkpoint_at(task.start, PATIENCE_S))
            _LOGGER.info("began from %s", task.start)
        if checkpoint is not None:
            self._trainer.restore(checkpoint)
            self._best, self._label_free = checkpoint.best, checkpoint.label_free
            own = () if checkpoint.record is None else (checkpoint.record,)
            self.restored = [*checkpoint.earlier, *own]
            _LOGGER.info("went on from the checkpoint of epoch %d", checkpoint.epoch)
        self._earlier = self.restored

    def _agreed_checkpoint(self) -> Checkpoint | None:
        """Return the checkpoint that rank 0 chose: two readings of a folder may differ."""
        checkpoint: Checkpoint | None = None
        if self._group.rank == 0:
            checkpoint, faults = self.files.newest_checkpoint()
            for fault in faults:
                _LOGGER.warning("%s", fault)
        epoch = np.array([checkpoint.epoch if checkpoint else 0])
        (epoch,) = self._group.broadcast(epoch, "epoch_of_checkpoint")
        if checkpoint is None and epoch:
            checkpoint = self.files.read_checkpoint(int(epoch))
        return checkpoint

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return self._trainer.epoch

    @property
    def is_done(self) -> bool:
        """Whether all epochs were run."""
        return self._trainer.is_done

    def run_epoch(self, on_step: OnStep | None = None) -> EpochRecord:
        """Return the record of the next epoch, once its checkpoint is where all nodes find it."""
        record = self._trainer.run_epoch(on_step)
        if self._group.rank == 0:  # all ranks hold the same weights, one of them writes
            self._write(record)
            _LOGGER.info("epoch %d: %s", record.epoch, _brief(record))
            for warning in record.warnings:
                _LOGGER.info("epoch %d: warning: %s", record.epoch, warning)
        return record

    def _write(self, record: EpochRecord) -> None:
        epoch = record.epoch
        self._best = best_record(self._best, record, self._objective)
        self._label_free = label_free_record(self._label_free, record)
        evaluation = self._trainer.last_evaluation
        checkpoint = replace(
            self._trainer.checkpoint(),
            best=self._best,
            label_free=self._label_free,
            record=record,
            earlier=tuple(self._earlier[-_N_EARLIER:]),
        )
        self.files.write_epoch(checkpoint, evaluation.contents() if evaluation else None)
        best = {kept.epoch for kept in (self._best, self._label_free) if kept is not None}
        self.files.keep_only({epoch - 1, epoch, *best, *self._task.kept_epochs})
        self._earlier = [*checkpoint.earlier, record]


def measure(
    config: TrialConfig, checkpoint: str, split: str, *, keeps_jets: bool = False
) -> dict[str, Any]:
    """Return the quality of the clusters of a checkpoint, at a path or URI, as plain values.

    Args:
        config: of the training.
        checkpoint: of one of its epochs.
        split: train, validation or test.
        keeps_jets: whether to return `cluster` and `jet_class` too, int64 [jet], in order.
    """
    dataset = open_dataset(config.data)
    trainer = Trainer(config, dataset, OneWorker())
    trainer.restore(read_checkpoint_at(checkpoint, PATIENCE_S))
    evaluation = trainer.evaluate_split(split, dataset.n_jets(split) if keeps_jets else 1)
    found = with_interval({**vars(evaluation.quality), "confusion": evaluation.confusion.tolist()})
    if keeps_jets:
        found |= {"cluster": evaluation.cluster, "jet_class": evaluation.jet_class}
    return found


def _brief(record: EpochRecord) -> str:
    accuracy = record.value("clustering_accuracy")
    return (
        f"{record.phase}, focal loss {record.focal_loss:.4g},"
        f" clustering loss {record.clustering_loss:.4g},"
        + (f" accuracy {accuracy:.4f}," if accuracy is not None else "")
        + f" silhouette {record.silhouette:.4f},"
        f" {record.jets_per_second:.0f} jets/s"
    )
