"""Which checkpoints a trial keeps, and which one it goes on from."""

import numpy as np
import pytest

from tests.training.small_training import write_checkpoint
from ucluster_tune.config.objective import ObjectiveConfig
from ucluster_tune.training.checkpoint import Checkpoint
from ucluster_tune.training.record import EpochRecord, best_record
from ucluster_tune.trial.files import TrialFiles


def checkpoint(epoch):
    arrays = np.full(3, epoch, np.float32)
    return Checkpoint(
        epoch=epoch,
        n_steps=epoch,
        n_jets=epoch,
        seed=1,
        config={},
        dataset_checksum="abc",
        parameters=arrays,
        averages=arrays,
        first_moment=arrays,
        second_moment=arrays,
        best=EpochRecord.from_values({"epoch": epoch}),
    )


@pytest.fixture
def files(tmp_path):
    """A trial with checkpoints and evaluations of four epochs."""
    files = TrialFiles(tmp_path)
    for epoch in (1, 2, 3, 4):
        write_checkpoint(checkpoint(epoch), files.checkpoint(epoch))
        files.evaluation(epoch).parent.mkdir(exist_ok=True)
        files.evaluation(epoch).write_bytes(b"")
    return files


def epochs_of(files, folder):
    return sorted(int(path.stem.partition("-")[2]) for path in (files.root / folder).iterdir())


def test_newest_checkpoint_is_that_of_the_last_epoch(files):
    newest, faults = files.newest_checkpoint()
    assert (newest.epoch, newest.parameters.tolist(), faults) == (4, [4.0] * 3, [])


def test_epochs_are_ordered_by_number_not_by_name(files):
    write_checkpoint(checkpoint(10_000), files.checkpoint(10_000))
    assert files.newest_checkpoint()[0].epoch == files.last_epoch == 10_000


@pytest.mark.parametrize("damage", ["cut short", "altered", "empty"])
def test_damaged_checkpoint_is_passed_over_for_the_one_before(files, damage):
    contents = files.checkpoint(4).read_bytes()
    damaged = {
        "cut short": contents[:-10],
        "altered": contents[:-40] + b"\xff" + contents[-39:],
        "empty": b"",
    }
    files.checkpoint(4).write_bytes(damaged[damage])
    newest, faults = files.newest_checkpoint()
    assert newest.epoch == 3
    assert len(faults) == 1
    assert "epoch-0004.ckpt" in faults[0]


def test_without_a_whole_checkpoint_there_is_none(files, tmp_path):
    for epoch in (1, 2, 3, 4):
        files.checkpoint(epoch).write_bytes(b"nothing")
    newest, faults = files.newest_checkpoint()
    assert newest is None
    assert len(faults) == 4
    assert TrialFiles(tmp_path / "none").newest_checkpoint() == (None, [])
    assert TrialFiles(tmp_path / "none").last_epoch == 0


def test_files_of_other_epochs_are_removed(files):
    files.keep_only({1, 4})
    assert epochs_of(files, "checkpoints") == epochs_of(files, "evaluation") == [1, 4]


def test_only_files_of_epochs_are_removed(files):
    mine = files.root / "checkpoints" / "epoch-0002.ckpt.bak"
    mine.write_bytes(b"")
    files.keep_only(set())
    assert list((files.root / "checkpoints").iterdir()) == [mine]


def record(epoch, accuracy, phase="clustering"):
    return EpochRecord(epoch, phase, focal_loss=accuracy, clustering_accuracy=accuracy)


@pytest.mark.parametrize(
    ("epochs", "best"),
    [
        ([record(1, 0.5), record(2, 0.6), record(3, 0.4)], 2),
        ([record(1, 0.5), record(2, 0.5)], 1),
        ([record(1, 0.9, "pretraining"), record(2, 0.4)], 2),
        ([record(1, 0.4), record(2, float("nan"))], 1),
        ([record(1, float("nan"))], None),
    ],
    ids=["highest", "first of equals", "clustering phase", "a number", "none"],
)
def test_best_epoch_is_the_highest_of_the_clustering_phase(epochs, best):
    found = None
    for epoch in epochs:
        found = best_record(found, epoch, ObjectiveConfig())
    assert (found and found.epoch) == best


def test_losses_are_best_when_low():
    objective = ObjectiveConfig(metric="focal_loss", direction="minimize")
    lower = record(2, 0.4)
    assert best_record(record(1, 0.5), lower, objective) is lower
