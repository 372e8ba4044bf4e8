"""Training on jets that do not fit the buffer: the same promises as for those that do."""

import threading
from typing import Any

import numpy as np
import pytest

from tests.small_datasets import write_jets
from tests.training.small_training import (
    make_trainer,
    small_config,
    train,
    without_times,
    write_checkpoint,
)
from ucluster_tune.errors import DataError, NonFiniteLossError
from ucluster_tune.training.checkpoint import read_checkpoint
from ucluster_tune.training.group import OneWorker

VECTORS = ("parameters", "averages", "first_moment", "second_moment")
N_TRAIN, BUFFER_JETS = 60, 25


@pytest.fixture(scope="module")
def jets_folder(tmp_path_factory):
    return write_jets(tmp_path_factory.mktemp("data") / "jets", N_TRAIN, 300, row_group_size=8)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert not [t.name for t in threading.enumerate() if t.name.startswith("read ")]


def streaming_config(folder, **options):
    return small_config(folder, **{"shuffle_buffer_jets": BUFFER_JETS, **options})


@pytest.fixture(scope="module")
def uninterrupted(jets_folder):
    """Records and checkpoints of the four epochs of a training that never stopped."""
    return train(make_trainer(streaming_config(jets_folder), OneWorker()), 4)


def test_streamed_jets_make_as_many_steps_and_count_every_validation_jet(uninterrupted):
    records, checkpoints = uninterrupted
    assert [c.n_steps for c in checkpoints] == [3, 6, 9, 12]
    assert [np.sum(record.confusion) for record in records] == [300] * 4
    assert np.isfinite(checkpoints[-1].parameters).all()


def test_training_goes_on_from_a_checkpoint_as_if_it_never_stopped(
    uninterrupted, jets_folder, tmp_path
):
    """From the border between both phases, whose centroids come from streamed jets."""
    n_done = 2
    records, checkpoints = uninterrupted
    write_checkpoint(checkpoints[n_done - 1], tmp_path / "epoch.ckpt")
    trainer = make_trainer(streaming_config(jets_folder), OneWorker())
    trainer.restore(read_checkpoint(tmp_path / "epoch.ckpt"))
    more_records, more_checkpoints = train(trainer, 4 - n_done)
    for went_on, never_stopped in zip(more_records, records[n_done:], strict=True):
        assert without_times(went_on) == without_times(never_stopped)
    for name in VECTORS:
        assert np.array_equal(
            getattr(more_checkpoints[-1], name), getattr(checkpoints[-1], name)
        ), name


def test_jets_in_a_bucket_train_to_the_same_weights(uninterrupted, jets_folder, s3_server):
    s3_server.make_bucket("jets")
    config = streaming_config(s3_server.upload(jets_folder, "jets"))
    records, checkpoints = train(make_trainer(config, OneWorker()), 1)
    assert without_times(records[0]) == without_times(uninterrupted[0][0])
    assert np.array_equal(checkpoints[0].parameters, uninterrupted[1][0].parameters)


def test_clusters_of_streamed_jets_are_those_of_jets_in_memory(uninterrupted, jets_folder):
    """To the bit: the batches of the evaluation are the same ones."""
    found = []
    for config in (small_config(jets_folder), streaming_config(jets_folder)):
        trainer = make_trainer(config, OneWorker())
        trainer.restore(uninterrupted[1][-1])
        found.append(trainer.evaluate_split("validation"))
    held, streamed = found
    assert held.quality == streamed.quality
    assert held.contents() == streamed.contents()


def test_one_step_an_epoch_over_all_jets_is_the_same_step(jets_folder):
    """The order inside of a batch is another one, which sums feel to rounding alone."""
    options: dict[str, Any] = {"global_batch_size": 64, "adam_epsilon": 1e-2}
    steps = [
        train(make_trainer(make_config(jets_folder, **options), OneWorker()), 1)
        for make_config in (small_config, streaming_config)
    ]
    (held, (held_end,)), (streamed, (streamed_end,)) = steps
    assert streamed[0].focal_loss == pytest.approx(held[0].focal_loss, rel=1e-5)
    departure = np.abs(streamed_end.first_moment - held_end.first_moment).max()
    assert departure < 1e-4 * np.abs(held_end.first_moment).max()


class CountingWorker(OneWorker):
    """Counts what is gathered from all workers."""

    def __init__(self):
        self.n_gathered = []

    def gather(self, array, name):
        self.n_gathered.append(len(array))
        return super().gather(array, name)


@pytest.mark.parametrize(("buffer_jets", "n_kept"), [(N_TRAIN, 60), (BUFFER_JETS, 3 * 8)])
def test_kmeans_sees_all_jets_in_memory_and_as_many_as_the_buffer_holds_else(
    jets_folder, buffer_jets, n_kept
):
    group = CountingWorker()
    train(make_trainer(streaming_config(jets_folder, shuffle_buffer_jets=buffer_jets), group), 1)
    assert group.n_gathered == [n_kept]


def test_jets_that_cannot_be_read_in_mid_epoch_end_training_with_the_reason(tmp_path):
    folder = write_jets(tmp_path / "jets", N_TRAIN, row_group_size=8)
    trainer = make_trainer(streaming_config(folder), OneWorker())
    trainer.run_epoch()
    (folder / "train-00000.parquet").unlink()
    with pytest.raises(DataError, match=r"train-00000\.parquet: missing, though the manifest"):
        trainer.run_epoch()


def test_an_epoch_that_fails_leaves_no_reader(jets_folder):
    config = streaming_config(jets_folder, global_batch_size=4, learning_rate=1e30)
    with pytest.raises(NonFiniteLossError, match="in epoch 1, step"):
        train(make_trainer(config, OneWorker()), 2)


def test_an_epoch_that_is_interrupted_leaves_no_reader(jets_folder):
    config = streaming_config(jets_folder, global_batch_size=4)

    def interrupt(step, n_steps):
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_trainer(config, OneWorker()).run_epoch(interrupt)
