"""A head that tells classes: the upper bound, trained with labels, against independent numbers."""

import math

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from tests.small_datasets import made_up_jets, write_tables
from tests.training.small_training import (
    make_trainer,
    small_config,
    train,
    without_times,
    write_checkpoint,
)
from ucluster_tune.data.format.schema import SPLITS
from ucluster_tune.data.reading.dataset import open_dataset
from ucluster_tune.errors import ConfigurationError
from ucluster_tune.model.abcnet import CENTROIDS, build_abcnet
from ucluster_tune.training.checkpoint import read_checkpoint
from ucluster_tune.training.group import OneWorker
from ucluster_tune.training.trainer import Trainer
from ucluster_tune.training.yardstick_measures import measure_yardsticks
from ucluster_tune.training.yardsticks import MASS_THRESHOLDS

N_EPOCHS = 10


def supervised(folder, n_clusters=3, n_epochs=N_EPOCHS):
    config = small_config(folder, n_epochs=n_epochs, n_pretraining_epochs=1, learning_rate=2e-2)
    model = config.model.model_copy(update={"head": "classes", "n_clusters": n_clusters})
    return config.model_copy(update={"model": model})


@pytest.fixture(scope="module")
def jets_of_one_mass(tmp_path_factory):
    """Jets whose classes differ in their angles alone."""
    tables = {}
    for seed, (split, n_jets) in enumerate(zip(SPLITS, (240, 90, 90), strict=True)):
        table = made_up_jets(n_jets, seed=seed)
        mass = np.random.default_rng(seed).normal(85.0, 5.0, n_jets).astype(np.float32)
        at = table.column_names.index("mass_gev")
        tables[split] = table.set_column(at, table.schema.field(at), pa.array(mass))
    return write_tables(tmp_path_factory.mktemp("data") / "jets", tables)


@pytest.fixture(scope="module")
def uninterrupted(jets_of_one_mass):
    trainer = make_trainer(supervised(jets_of_one_mass), OneWorker())
    return train(trainer, N_EPOCHS), trainer


def logits_of(config, checkpoint, split):
    """The head's answers, without the code that measures; and the classes of the jets."""
    trainer = Trainer(config, open_dataset(config.data), OneWorker())
    trainer.restore(checkpoint)
    network = build_abcnet(config.model)
    weights = network.parameters.unpack(tf.constant(checkpoint.parameters))
    stored = network.averages.unpack(tf.constant(checkpoint.averages))
    with trainer._feed(split).in_order(16) as batches:
        found = [
            (network.in_inference(weights, stored, jets.batch)[1].numpy(), jets.jet_class)
            for jets in batches
        ]
    logits, jet_class = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return logits, jet_class


def test_it_beats_what_the_mass_tells_and_is_its_share_of_right_classes(
    uninterrupted, jets_of_one_mass
):
    (records, checkpoints), _ = uninterrupted
    config = supervised(jets_of_one_mass)
    best = max(records[1:], key=lambda r: r.clustering_accuracy)
    thresholds = measure_yardsticks(open_dataset(config.data), 3, 512, 1)[0].named(MASS_THRESHOLDS)
    assert thresholds is not None
    assert best.clustering_accuracy > thresholds.by_split["validation"].clustering_accuracy + 0.1
    logits, jet_class = logits_of(config, checkpoints[best.epoch - 1], "validation")
    assert logits.shape == (90, 3)
    told = np.argmax(logits, axis=1)
    assert best.clustering_accuracy == pytest.approx(np.mean(told == jet_class))
    assert best.confusion == [
        [int(np.sum((told == k) & (jet_class == c))) for c in range(3)] for k in range(3)
    ]


def test_it_learns_by_cross_entropy_alone(uninterrupted):
    (records, checkpoints), trainer = uninterrupted
    assert records[-1].total_loss == records[-1].focal_loss < 0.8 * records[0].focal_loss
    assert records[0].focal_loss == pytest.approx(math.log(3), abs=0.3)  # of three, by chance
    moments = build_abcnet(trainer.config.model).parameters.to_arrays(checkpoints[-1].first_moment)
    assert not moments[CENTROIDS].any()
    assert all(math.isnan(record.silhouette) for record in records)
    assert all(record.value("silhouette") is None for record in records)


def test_it_goes_on_from_a_checkpoint_as_if_it_never_stopped(
    uninterrupted, jets_of_one_mass, tmp_path
):
    (records, checkpoints), _ = uninterrupted
    write_checkpoint(checkpoints[6], tmp_path / "epoch.ckpt")
    trainer = make_trainer(supervised(jets_of_one_mass), OneWorker())
    trainer.restore(read_checkpoint(tmp_path / "epoch.ckpt"))
    again, last = train(trainer, N_EPOCHS - 7)
    assert [str(without_times(r)) for r in again] == [str(without_times(r)) for r in records[7:]]
    assert np.array_equal(last[-1].parameters, checkpoints[-1].parameters)


def test_as_many_clusters_as_classes_are_asked_for(jets_of_one_mass):
    with pytest.raises(ConfigurationError, match=r"n_clusters: must be 3 .*of w, z, t, got 4"):
        make_trainer(supervised(jets_of_one_mass, n_clusters=4), OneWorker())
