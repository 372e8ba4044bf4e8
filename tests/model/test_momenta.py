"""Momenta become what a data set holds and a network reads, in TensorFlow as in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from tests.training.small_training import MODEL
from ucluster_tune.data.format.features import constituent_features
from ucluster_tune.data.format.packed import pack_lists
from ucluster_tune.model.momenta import batch_of_features, features_of_momenta
from ucluster_tune.model.neighbors import FirstNeighborSearch
from ucluster_tune.models.exported.check import jets_to_check, padded_features

N_JETS = 40


@pytest.fixture(scope="module")
def jets():
    """Made-up jets of 5 to 100 constituents, which NumPy made features of."""
    return jets_to_check(None)


def test_features_are_those_of_numpy(jets):
    found = features_of_momenta(tf.constant(jets.momenta[:N_JETS])).numpy()
    wanted = padded_features(jets.of_momenta.take(np.arange(N_JETS)))
    assert np.abs(wanted).max(axis=(0, 1)).min() > 0.1
    assert found == pytest.approx(wanted, abs=2e-7, rel=2e-7)


def test_the_order_of_constituents_makes_no_difference(jets):
    order = np.random.default_rng(2).permutation(jets.momenta.shape[1])
    mixed = features_of_momenta(tf.constant(jets.momenta[:N_JETS, order]))
    assert mixed.numpy() == pytest.approx(
        features_of_momenta(tf.constant(jets.momenta[:N_JETS])).numpy(), abs=2e-7
    )


def test_a_jets_own_momentum_is_taken_where_it_is_given(jets):
    """As where soft constituents count for the jet and are not stored."""
    momenta = jets.momenta[:1, :3].astype(float)
    axis = 1.5 * jets.momenta[:1].astype(float).sum(axis=1)
    found = features_of_momenta(tf.constant(momenta), tf.constant(axis)).numpy()
    wanted = constituent_features(momenta[0], axis, np.array([3]))
    assert found[0, :3] == pytest.approx(wanted, abs=2e-7)
    assert np.all(found[0, 3:] == 0)


def test_of_many_constituents_the_hardest_are_looked_at_and_all_count_for_the_jet(jets):
    full = jets.momenta[:2]
    soft = np.full((2, 60, 4), [1e-3, 0, 0, 1e-3], np.float32)
    both = features_of_momenta(tf.constant(np.concatenate([soft, full * 10], axis=1))).numpy()
    n_real = (full[..., 3] > 0).sum(axis=1)
    assert both.shape[1] == 100
    with_soft = np.minimum(100, n_real + 60)
    assert np.array_equal((both[..., 6] != 0).sum(axis=1), with_soft)
    assert both[0, 0, 6] == pytest.approx(np.log(10 * np.hypot(*full[0, 0, :2])), abs=1e-5)


def test_what_has_no_pt_or_no_energy_is_padding():
    momenta = np.zeros((2, 3, 4), np.float32)
    momenta[0, 1] = [3, 0, 1, 4]
    momenta[0, 2] = [0, 0, 5, 5]  # along the beam
    features = features_of_momenta(tf.constant(momenta)).numpy()
    assert np.isfinite(features).all()
    assert np.any(features != 0, axis=2).sum(axis=1).tolist() == [1, 0]
    batch = batch_of_features(tf.constant(features), MODEL)
    assert batch.weights.numpy().tolist() == [1, 99, 100]


def test_rows_are_packed_as_in_training(jets):
    chosen = jets.of_momenta.take(np.arange(N_JETS))
    full = np.ones((1, 100, 8), np.float32)
    features = np.concatenate([padded_features(chosen), full])
    found = batch_of_features(tf.constant(features), MODEL)
    real = np.any(features != 0, axis=2)
    nothing = np.zeros(len(features), np.float32)
    packed = pack_lists(features[real], real.sum(axis=1), nothing, nothing.astype(int))
    searched = FirstNeighborSearch(MODEL)(packed)
    wanted = searched.batch(np.arange(len(features)), MODEL.n_neighbors)
    for name, own, other in zip(found._fields, found, wanted, strict=True):
        assert own.dtype.as_numpy_dtype == other.dtype, name
        assert np.array_equal(own.numpy(), other), name
