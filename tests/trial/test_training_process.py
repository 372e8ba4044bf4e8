"""A process that trains alone: one road to the epochs of a task, one task after another."""

import gc
from collections import Counter
from typing import Any

import pytest
import tensorflow as tf

from tests import small_study
from tests.training.small_training import without_times
from ucluster_tune.data.format.packed import PackedJets
from ucluster_tune.training import evaluation
from ucluster_tune.training.group import OneWorker
from ucluster_tune.training.trainer import Trainer
from ucluster_tune.trial.files import TrialFiles
from ucluster_tune.trial.processes.training_process import TrainingProcess
from ucluster_tune.trial.training_task import epochs_of

pytestmark = pytest.mark.slow

KINDS = (Trainer, PackedJets, tf.Variable, tf.types.experimental.ConcreteFunction, tf.Graph)


def in_memory() -> dict[int, Any]:
    """What of trainings lies in memory, whoever keeps it, by identity."""
    gc.collect()
    return {id(known): known for known in gc.get_objects() if isinstance(known, KINDS)}


def test_a_task_is_run_to_its_end_from_where_it_is(jets_parquet, tmp_path):
    task = small_study.task_of(jets_parquet, tmp_path)
    process = TrainingProcess(OneWorker())
    begun = epochs_of(task, process)
    first = next(begun)
    del begun  # as one that is killed
    later = list(epochs_of(task, TrainingProcess(OneWorker())))
    assert [record.epoch for record in (first, *later)] == [1, 2, 3]
    assert list(epochs_of(task, TrainingProcess(OneWorker()))) == []


def test_another_task_in_the_same_process_finds_nothing_of_the_one_before(jets_parquet, tmp_path):
    sections = {"dropout": 0.1}, {"second_widths": [8, 6], "n_neighbors": 4}
    first, other = (
        small_study.task_of(jets_parquet, tmp_path / str(number), model=section)
        for number, section in enumerate(sections)
    )
    before = in_memory()
    process = TrainingProcess(OneWorker())
    records = list(epochs_of(first, process))
    for task in (first, other):
        list(epochs_of(task, process))
        left = Counter(type(o).__name__ for i, o in in_memory().items() if i not in before)
        assert left == {"PackedJets": 2}, "those of both splits stay"
    again = small_study.task_of(jets_parquet, tmp_path / "again", model=sections[0])
    assert list(map(without_times, epochs_of(again, process))) == list(map(without_times, records))


def test_a_training_must_end_before_another_one_begins(jets_parquet, tmp_path):
    process = TrainingProcess(OneWorker())
    process.begin(small_study.task_of(jets_parquet, tmp_path / "first"))
    with pytest.raises(AssertionError, match="has not ended"):
        process.begin(small_study.task_of(jets_parquet, tmp_path / "second"))


def test_the_epoch_that_is_best_without_labels_is_kept(jets_parquet, tmp_path, monkeypatch):
    """For another reason than labels: whatever the accuracy, and over an interruption."""
    stabilities = iter([0.9, 0.2, 0.6, 0.6, 0.3, 0.1, 0.5])  # the first one is of pretraining
    monkeypatch.setattr(evaluation, "stability", lambda *_, **__: next(stabilities))
    lengths = {"n_epochs": 7, "n_pretraining_epochs": 1}
    task = small_study.task_of(jets_parquet, tmp_path, training=lengths)
    begun = epochs_of(task, TrainingProcess(OneWorker()))
    records = [next(begun) for _ in range(5)]
    del begun
    records += epochs_of(task, TrainingProcess(OneWorker()))
    best = max(records[1:], key=lambda record: record.clustering_accuracy).epoch
    files = TrialFiles(tmp_path)
    assert files.evaluated_epochs == sorted({3, best, 6, 7})
    assert files.has_checkpoint(3)
