"""Training in one process, from end to end, on a network and a data set of seconds."""

import dataclasses
import math
import re

import numpy as np
import pytest

from tests.small_datasets import write_jets
from tests.training.small_training import (
    MODEL,
    make_trainer,
    small_config,
    train,
    without_times,
    write_checkpoint,
)
from ucluster_tune.errors import (
    CheckpointError,
    CollapsedEmbeddingError,
    NonFiniteLossError,
    TrainingError,
)
from ucluster_tune.model.abcnet import CENTROIDS, build_abcnet
from ucluster_tune.training.checkpoint import read_checkpoint
from ucluster_tune.training.group import OneWorker

VECTORS = ("parameters", "averages", "first_moment", "second_moment")
N_TRAIN, N_VALIDATION = 60, 30


@pytest.fixture(scope="module")
def jets_folder(tmp_path_factory):
    return write_jets(tmp_path_factory.mktemp("data") / "jets", N_TRAIN, N_VALIDATION)


@pytest.fixture(scope="module")
def uninterrupted(jets_folder):
    """Records and checkpoints of the four epochs of a training that never stopped."""
    return train(make_trainer(small_config(jets_folder), OneWorker()), 4)


def centroids_of(checkpoint):
    return build_abcnet(MODEL).parameters.to_arrays(checkpoint.parameters)[CENTROIDS]


def test_phases_follow_each_other(uninterrupted):
    records, checkpoints = uninterrupted
    assert [r.epoch for r in records] == [1, 2, 3, 4]
    assert [r.phase for r in records] == ["pretraining"] * 2 + ["clustering"] * 2
    assert [r.inverse_temperature for r in records] == [0.0, 0.0, 4.0, 6.0]
    assert [r.clustering_loss > 0 for r in records] == [False, False, True, True]
    assert [c.n_steps for c in checkpoints] == [3, 6, 9, 12]


def test_records_add_up(uninterrupted):
    for record in uninterrupted[0]:
        assert np.sum(record.confusion) == N_VALIDATION
        assert np.sum(record.confusion, axis=0).tolist() == [10, 10, 10]
        weight = 10.0 if record.phase == "clustering" else 0.0
        total = record.focal_loss + weight * record.clustering_loss
        assert record.total_loss == pytest.approx(total)
        assert 0 < record.clustering_accuracy <= record.purity <= 1
        assert record.class_names == ["w", "z", "t"]
        assert record.learning_rate == pytest.approx(1e-3)
        assert record.seconds > 0
        assert record.jets_per_second > 0


def test_an_epoch_takes_the_jets_that_it_is_told(jets_folder):
    trainer = make_trainer(small_config(jets_folder, n_jets=40), OneWorker())
    seen = []
    trainer.run_epoch(lambda step, n_steps: seen.append((step, n_steps)))
    assert seen == [(1, 2), (2, 2)]
    assert trainer.last_evaluation is not None
    assert np.sum(trainer.last_evaluation.confusion) == N_VALIDATION


def test_training_lowers_the_loss(jets_folder):
    trainer = make_trainer(
        small_config(jets_folder, n_epochs=9, n_pretraining_epochs=8, learning_rate=1e-2),
        OneWorker(),
    )
    records, _ = train(trainer, 8)
    assert records[-1].focal_loss < 0.7 * records[0].focal_loss


def test_centroids_rest_in_pretraining_and_move_in_clustering(uninterrupted):
    _, checkpoints = uninterrupted
    network = build_abcnet(MODEL)
    for checkpoint, moves in zip(checkpoints, (False, False, True, True), strict=True):
        moment = network.parameters.to_arrays(checkpoint.first_moment)[CENTROIDS]
        assert np.any(moment != 0.0) == moves
    assert np.ptp(centroids_of(checkpoints[1]), axis=0).max() > 0


@pytest.mark.parametrize("n_done", [1, 2, 3])
def test_training_goes_on_from_a_checkpoint_as_if_it_never_stopped(
    uninterrupted, jets_folder, tmp_path, n_done
):
    """To the bit, from inside both phases and from the border between them."""
    records, checkpoints = uninterrupted
    write_checkpoint(checkpoints[n_done - 1], tmp_path / "epoch.ckpt")
    trainer = make_trainer(small_config(jets_folder), OneWorker())
    trainer.restore(read_checkpoint(tmp_path / "epoch.ckpt"))
    assert trainer.epoch == n_done
    more_records, more_checkpoints = train(trainer, 4 - n_done)
    assert trainer.is_done
    for went_on, never_stopped in zip(more_records, records[n_done:], strict=True):
        assert without_times(went_on) == without_times(never_stopped)
    for name in VECTORS:
        assert np.array_equal(
            getattr(more_checkpoints[-1], name), getattr(checkpoints[-1], name)
        ), name
    assert more_checkpoints[-1].n_jets == checkpoints[-1].n_jets


def test_a_restored_trainer_evaluates_alike(uninterrupted, jets_folder):
    records, checkpoints = uninterrupted
    trainer = make_trainer(small_config(jets_folder), OneWorker())
    trainer.restore(checkpoints[-1])
    evaluation = trainer.evaluate_split("validation")
    assert evaluation.confusion.tolist() == records[-1].confusion
    distances = np.linalg.norm(evaluation.embedding[:, None] - evaluation.centroids, axis=-1)
    assert np.array_equal(evaluation.cluster, distances.argmin(axis=1))
    nearest, second = np.sort(distances, axis=1)[:, :2].T  # all jets are kept here
    assert records[-1].silhouette == pytest.approx(np.mean(1 - nearest / second), rel=1e-4)


def test_another_seed_gives_other_weights(uninterrupted, jets_folder):
    _, checkpoints = uninterrupted
    _, others = train(make_trainer(small_config(jets_folder, seed=2), OneWorker()), 1)
    assert not np.array_equal(others[0].parameters, checkpoints[0].parameters)


@pytest.mark.parametrize("rate", [1e10, 1e20, 1e30])
def test_a_loss_that_is_not_finite_ends_training_with_its_place(jets_folder, rate):
    """However far the weights are thrown: distances of neighbours overflow before the loss."""
    config = small_config(jets_folder, learning_rate=rate)
    model = config.model.model_copy(update={"n_neighbors": 10})
    trainer = make_trainer(config.model_copy(update={"model": model}), OneWorker())
    place = rf"epoch [12], step \d+, at learning rate {re.escape(f'{rate:g}')}: try a lower"
    with pytest.raises(NonFiniteLossError, match=rf"not finite .*{place}"):
        train(trainer, 4)
    assert issubclass(NonFiniteLossError, TrainingError)


def config_with_options(folder):
    """Every option beyond the published recipe at once."""
    config = small_config(folder, learning_rate_schedule="cosine", learning_rate_warmup_jets=48)
    model = {
        "synchronized_batch_norm": True,
        "mask_padding_in_pool": True,
        "mask_padding_in_neighbors": True,
        "n_attention_heads": 2,
        "width_factor": 1.5,
        "dropout": 0.2,
    }
    loss = {"centroid_separation_weight": 3.0, "mass_bin_smoothing": 0.1}
    return config.model_copy(
        update={
            "model": config.model.model_copy(update=model),
            "loss": config.loss.model_copy(update=loss),
        }
    )


@pytest.mark.slow
def test_all_options_together_train_and_go_on_as_if_never_stopped(jets_folder, tmp_path):
    config = config_with_options(jets_folder)
    records, checkpoints = train(make_trainer(config, OneWorker()), 4)
    rates = [record.learning_rate for record in records]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(1e-5), "the cosine's floor"
    for record in records[2:]:
        least = record.focal_loss + 10.0 * record.clustering_loss
        assert least < record.total_loss < least + 3.0, "the separation loss lies in (0, 1)"
    assert records[0].total_loss == pytest.approx(records[0].focal_loss)
    write_checkpoint(checkpoints[1], tmp_path / "epoch.ckpt")
    trainer = make_trainer(config, OneWorker())
    trainer.restore(read_checkpoint(tmp_path / "epoch.ckpt"))
    _, more = train(trainer, 2)
    for name in VECTORS:
        assert np.array_equal(getattr(more[-1], name), getattr(checkpoints[-1], name)), name


def with_arrays(checkpoint, **changes):
    """A checkpoint with some of its named arrays replaced; `/` in a name is written `__`."""
    layout = build_abcnet(MODEL).parameters
    arrays = layout.to_arrays(checkpoint.parameters.copy())
    for name, value in changes.items():
        arrays[name.replace("__", "/")][...] = value
    return dataclasses.replace(checkpoint, parameters=layout.to_vector(arrays))


def test_a_healthy_training_warns_of_nothing(uninterrupted):
    assert [record.warnings for record in uninterrupted[0]] == [[], [], [], []]


def test_an_empty_and_an_all_swallowing_cluster_are_told(uninterrupted, jets_folder):
    """Two of three centroids far away from all jets, in the clustering phase."""
    far = [[0, 0, 0], [1e3, 1e3, 1e3], [-1e3, 0, 0]]
    trainer = make_trainer(small_config(jets_folder), OneWorker())
    trainer.restore(with_arrays(uninterrupted[1][1], centroids=far))
    record = trainer.run_epoch()
    place = "since epoch 3, step 1, at learning rate 0.001"
    assert record.warnings == [
        f"empty cluster: no jet is nearest to centroid 1 {place}",
        f"empty cluster: no jet is nearest to centroid 2 {place}",
        f"all-swallowing cluster: cluster 0 holds 100.0 % of the jets {place}",
    ]


def test_an_embedding_that_shrinks_to_a_point_is_told(uninterrupted, jets_folder):
    trainer = make_trainer(small_config(jets_folder), OneWorker())
    trainer.restore(with_arrays(uninterrupted[1][0], embedding__gamma=1e-6, embedding__beta=5.0))
    (warning,) = trainer.run_epoch().warnings
    assert warning.startswith("collapsed embedding: jets differ by ")
    assert "at learning rate 0.001" in warning


def test_a_dead_embedding_ends_training_once_nothing_can_change(uninterrupted, jets_folder):
    config = small_config(jets_folder, n_epochs=60, n_pretraining_epochs=50)
    trainer = make_trainer(config, OneWorker())
    trainer.restore(with_arrays(uninterrupted[1][0], embedding__beta=-100.0))
    (warning,) = trainer.run_epoch().warnings
    assert warning.startswith("collapsed embedding: jets differ by 0 of its size since epoch 2,")
    message = "zero for every jet since 100 steps, up to epoch 35, step 1, at learning rate 0.001"
    with pytest.raises(CollapsedEmbeddingError, match=message):
        train(trainer, 50)


def test_checkpoint_of_another_network_is_refused(uninterrupted, jets_folder):
    trainer = make_trainer(small_config(jets_folder), OneWorker())
    checkpoint = uninterrupted[1][0]
    shorter = dataclasses.replace(checkpoint, parameters=checkpoint.parameters[:-3])
    with pytest.raises(CheckpointError, match="made with another model configuration"):
        trainer.restore(shorter)


def test_checkpoint_of_other_jets_is_refused(uninterrupted, jets_folder):
    trainer = make_trainer(small_config(jets_folder), OneWorker())
    other = dataclasses.replace(uninterrupted[1][0], dataset_checksum="0" * 64)
    with pytest.raises(CheckpointError, match=r"trained on other jets.*point data\.path to"):
        trainer.restore(other)


def test_progress_is_told_step_by_step(jets_folder):
    told = []
    make_trainer(small_config(jets_folder), OneWorker()).run_epoch(
        on_step=lambda done, of: told.append((done, of))
    )
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_evaluation_file_holds_what_a_picture_needs(jets_folder, tmp_path):
    trainer = make_trainer(small_config(jets_folder), OneWorker())
    trainer.run_epoch()
    assert trainer.last_evaluation is not None
    (tmp_path / "epoch-0001.npz").write_bytes(trainer.last_evaluation.contents())
    with np.load(tmp_path / "epoch-0001.npz", allow_pickle=False) as archive:
        shapes = {name: archive[name].shape for name in archive}
    n = N_VALIDATION
    assert shapes == {
        "embedding": (n, 3),
        "cluster": (n,),
        "jet_class": (n,),
        "mass_gev": (n,),
        "pt_gev": (n,),
        "centroids": (3, 3),
        "confusion": (3, 3),
        "class_names": (3,),
    }
    assert math.isfinite(trainer.last_evaluation.quality.nmi)


def test_jets_without_classes_train_alike_and_have_no_accuracy(tmp_path, uninterrupted):
    records, checkpoints = uninterrupted
    folder = write_jets(tmp_path / "jets", N_TRAIN, N_VALIDATION, is_labelled=False)
    trainer = make_trainer(small_config(folder), OneWorker())
    found, others = train(trainer, 4)
    assert np.array_equal(others[-1].parameters, checkpoints[-1].parameters)
    for record, labelled in zip(found, records, strict=True):
        assert record.value("clustering_accuracy") is record.value("ari") is None
        assert (record.class_names, record.confusion) == ([], [[], [], []])
        assert (record.silhouette, record.stability) == (labelled.silhouette, labelled.stability)
    evaluation = trainer.last_evaluation
    assert evaluation is not None
    assert (evaluation.jet_class == -1).all()
    assert evaluation.confusion.shape == (3, 0)
    assert len(evaluation.cluster) == N_VALIDATION
