"""A training that begins from a checkpoint of another one."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.small_study import task_of
from ucluster_tune.training.group import OneWorker
from ucluster_tune.trial.training_run import TrainingRun

pytestmark = pytest.mark.slow


def test_training_begins_where_another_one_was_and_tells_its_own_epochs_alone(
    tmp_path: Path, jets_parquet: Path
) -> None:
    kept = replace(task_of(jets_parquet, tmp_path / "parent"), kept_epochs=frozenset({1}))
    parent = TrainingRun(kept, OneWorker())
    records = [parent.run_epoch() for _ in range(3)]
    start = parent.files.checkpoint_place(1)
    assert parent.files.has_checkpoint(1)

    same = TrainingRun(replace(kept, folder=str(tmp_path / "same"), start=start), OneWorker())
    assert (same.epoch, same.restored) == (1, [])
    assert [same.run_epoch().is_same_training(record) for record in records[1:]] == [True] * 2
    assert same.is_done

    faster = task_of(jets_parquet, tmp_path / "other", training={"learning_rate": 0.01})
    other = TrainingRun(replace(faster, start=start), OneWorker())
    assert not other.run_epoch().is_same_training(records[1])
    again = TrainingRun(replace(faster, start=start), OneWorker())  # after a kill: its own counts
    assert (again.epoch, [record.epoch for record in again.restored]) == (2, [2])
