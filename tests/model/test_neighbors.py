"""Who is a neighbour of whom, with packed padding, against a search over all 100 constituents."""

import numpy as np
import pytest
import tensorflow as tf

from tests.small_datasets import pack_padded
from ucluster_tune.config.trial import ModelConfig
from ucluster_tune.model.neighbors import (
    FirstNeighborSearch,
    feature_space_neighbors,
    first_neighbors,
)

PADDING_DISTANCE = 1000.0


def jets_of(*n_real, seed=0):
    constituents = np.random.default_rng(seed).normal(0.0, 0.3, (len(n_real), 100, 8))
    constituents[:, :, 2] = -1.0 - np.abs(constituents[:, :, 2])
    constituents[np.arange(100) >= np.array(n_real)[:, None]] = 0.0
    return constituents.astype(np.float32)


def packed(constituents):
    n_jets = len(constituents)
    return pack_padded(constituents, np.ones(n_jets, np.float32), np.zeros(n_jets, np.int64))


def first_of(constituents, n_neighbors=10):
    jets = packed(constituents)
    batch = jets.batch(np.arange(len(jets)), n_neighbors)
    found = first_neighbors(
        tf.constant(batch.features),
        batch.dense_rows,
        batch.dense_columns,
        n_neighbors,
        PADDING_DISTANCE,
    )
    return jets, batch, found.numpy()


def brute_force(points, n_neighbors, distance_added=0.0):
    """Indices [constituent, neighbor] of one jet's 100 padded constituents."""
    points = points.astype(np.float64)
    distance = ((points[:, None] - points[None]) ** 2).sum(-1) + distance_added
    return np.argsort(distance, axis=1, kind="stable")[:, :n_neighbors]


@pytest.mark.parametrize("n_real", [1, 5, 10, 11, 60, 91, 97, 100])
def test_first_neighbors_are_those_among_all_hundred_constituents(n_real):
    constituents = jets_of(n_real)
    _, _, found = first_of(constituents)
    is_padding = (constituents[0, :, 2] == 0) * PADDING_DISTANCE
    wanted = brute_force(constituents[0, :, :2], 10, is_padding[:, None] + is_padding[None, :])
    for row in range(len(found)):
        assert sorted(found[row]) == sorted(np.minimum(wanted[row], n_real)), row


@pytest.mark.parametrize("n_real", [10, 11, 60, 99])
def test_padded_constituents_are_never_neighbors_of_real_ones_while_there_are_enough(n_real):
    _, _, found = first_of(jets_of(n_real))
    assert (found[:n_real] < n_real).all()


def test_a_constituent_is_among_its_own_neighbors():
    _, _, found = first_of(jets_of(30, 80))
    assert all(row in neighbors for row, neighbors in enumerate(found[:30]))


def test_missing_neighbors_are_padding_repeated():
    _, _, found = first_of(jets_of(4))
    for row in range(4):
        assert sorted(found[row]) == [0, 1, 2, 3, *[4] * 6]


def test_padding_has_the_real_ones_and_padding_at_the_published_distances():
    """From padding, a real constituent is 1000 + its distance away, other padding 2000."""
    _, _, found = first_of(jets_of(4))
    assert sorted(found[4]) == [0, 1, 2, 3, *[4] * 6]


def test_of_equal_distances_the_first_constituent_is_taken():
    constituents = jets_of(12)
    constituents[0, :12, :2] = 0.25
    _, _, found = first_of(constituents, n_neighbors=4)
    assert np.sort(found[:12]).tolist() == [[0, 1, 2, 3]] * 12


def test_phi_is_brought_back_from_two_pi_on_alone():
    """As published: two constituents 2 pi apart are neighbours, at 6 they are not."""
    constituents = jets_of(3)
    constituents[0, :3, :2] = [[0.0, 0.0], [0.0, 2 * np.pi + 0.01], [0.5, 0.0]]
    _, _, found = first_of(constituents, n_neighbors=2)
    assert sorted(found[0]) == [0, 1]
    constituents[0, 1, 1] = 6.0
    _, _, found = first_of(constituents, n_neighbors=2)
    assert sorted(found[0]) == [0, 2]


def test_neighbors_stay_inside_their_jet():
    _, batch, found = first_of(jets_of(3, 100, 40))
    assert (batch.jet[found] == batch.jet[:, None]).all()


@pytest.mark.parametrize("n_real", [1, 3, 50, 95, 100])
def test_neighbors_in_feature_space_count_padding_as_often_as_it_is_there(n_real):
    generator = np.random.default_rng(n_real)
    jets = packed(jets_of(n_real))
    batch = jets.batch(np.arange(1), 10)
    values = generator.normal(size=(len(batch.features), 16)).astype(np.float32)
    if n_real < 100:
        values[-1] = 0.1 * values[-1]  # padding is near to everything
    found = feature_space_neighbors(
        tf.constant(values), batch.dense_rows, batch.dense_columns, 10
    ).numpy()
    rows_of_all = np.minimum(np.arange(100), len(values) - 1)
    wanted = rows_of_all[brute_force(values[rows_of_all], 10)]
    for row in range(len(values)):
        assert sorted(found[row]) == sorted(wanted[row]), row


def test_no_gradient_flows_through_the_choice():
    jets = packed(jets_of(20))
    batch = jets.batch(np.arange(1), 10)
    values = tf.constant(batch.features)
    with tf.GradientTape() as tape:
        tape.watch(values)
        found = feature_space_neighbors(values, batch.dense_rows, batch.dense_columns, 10)
        total = tf.reduce_sum(tf.cast(found, tf.float32))
    assert tape.gradient(total, values) is None


def test_the_search_made_once_is_that_of_each_batch():
    constituents = jets_of(*np.random.default_rng(1).integers(1, 101, 300))
    jets = FirstNeighborSearch(ModelConfig())(packed(constituents))
    chosen = np.array([299, 4, 270])
    batch = jets.batch(chosen, 10)
    _, _, found = first_of(constituents[chosen])
    assert np.array_equal(np.sort(batch.first_neighbors), np.sort(found))


@pytest.mark.parametrize("few", [2, 4, 10])
def test_the_first_neighbors_of_a_search_for_more_are_those_of_one_for_fewer(few):
    generator = np.random.default_rng(2)
    constituents = jets_of(*generator.integers(1, 101, 60)).round(1)  # so that there are ties
    search = FirstNeighborSearch(ModelConfig(n_neighbors=few))
    narrow, wide = search(packed(constituents)), search(packed(constituents), at_least=30)
    assert (narrow.n_first_neighbors, wide.n_first_neighbors) == (few, 30)
    chosen = np.arange(60)
    batches = [jets.batch(chosen, few).first_neighbors for jets in (narrow, wide)]
    assert np.array_equal(*batches)
    assert len({tuple(sorted(row)) for row in batches[0]}) > 60


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])  # squared, the last overflows
def test_where_the_network_diverges_neighbors_are_rows_that_there_are(value):
    jets = packed(jets_of(4, 30, 100))
    batch = jets.batch(np.arange(len(jets)), 10)
    values = tf.fill([len(batch.features), 5], tf.constant(value, tf.float32))
    found = feature_space_neighbors(values, batch.dense_rows, batch.dense_columns, 10).numpy()
    assert found.min() >= 0
    assert found.max() < len(batch.features)
