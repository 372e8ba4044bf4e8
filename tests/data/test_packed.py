"""Packed rows stand for all 100 constituents of each jet."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.small_datasets import pack_padded
from ucluster_tune.data.format.packed import pack_lists

N_FEATURES = 8


def packed_jets(*numbers_of_constituents):
    """Jets whose constituents are numbered from 1 through all jets, in every feature."""
    n_real = np.array(numbers_of_constituents)
    numbers = np.arange(1, n_real.sum() + 1, dtype=np.float32)
    features = np.repeat(numbers[:, None], N_FEATURES, axis=1)
    return pack_lists(features, n_real, np.float32(10) * n_real, np.arange(len(n_real)))


def batch_of(jets, chosen, n_neighbors=10):
    return jets.batch(np.array(chosen), n_neighbors)


def test_rows_are_the_real_constituents_and_one_for_the_padding():
    jets = packed_jets(2, 100, 1)
    assert jets.n_rows.tolist() == [3, 100, 2]
    assert jets.n_padded.tolist() == [98, 0, 99]
    assert jets.first_rows.tolist() == [0, 3, 103]
    assert jets.features[:4, 0].tolist() == [1.0, 2.0, 0.0, 3.0]
    assert jets.features[-2:, 5].tolist() == [103.0, 0.0]
    assert len(jets) == 3


@given(st.lists(st.integers(1, 100), min_size=1, max_size=6), st.integers(2, 20))
def test_each_jet_weighs_a_hundred_constituents(n_real, n_neighbors):
    jets = packed_jets(*n_real)
    batch = batch_of(jets, range(len(n_real)), n_neighbors)
    weights = np.bincount(batch.jet, batch.weights)
    assert weights.tolist() == [100.0] * len(n_real)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=6), st.integers(2, 20))
def test_padding_is_repeated_as_often_as_it_can_be_a_neighbor(n_real, n_neighbors):
    batch = batch_of(packed_jets(*n_real), range(len(n_real)), n_neighbors)
    for jet, n in enumerate(n_real):
        rows = np.flatnonzero(batch.jet == jet)
        candidates = batch.dense_columns[jet][batch.dense_columns[jet] >= 0]
        n_copies = min(100 - n, n_neighbors)
        assert batch.dense_rows[jet][batch.dense_rows[jet] >= 0].tolist() == rows.tolist()
        assert sorted(candidates) == sorted([*rows[:n], *[rows[-1]] * n_copies])
        assert len(candidates) >= min(n_neighbors, 100), "too few to choose the neighbours from"


def test_batch_takes_the_chosen_jets_in_their_order():
    batch = batch_of(packed_jets(2, 3, 1), [2, 0])
    assert batch.features[:, 0].tolist() == [6.0, 0.0, 1.0, 2.0, 0.0]
    assert batch.jet.tolist() == [0, 0, 1, 1, 1]
    assert batch.weights.tolist() == [1.0, 99.0, 1.0, 1.0, 98.0]
    assert batch.dense_rows.tolist() == [[0, 1, -1], [2, 3, 4]]
    types = {name: getattr(batch, name).dtype for name in batch._fields}
    assert types.pop("features") == types.pop("weights") == np.float32
    assert set(types.values()) == {np.dtype(np.int32)}


def test_jets_of_a_hundred_constituents_have_no_padding():
    batch = batch_of(packed_jets(100, 100), [0, 1])
    assert batch.weights.tolist() == [1.0] * 200
    assert (batch.dense_columns[:, 100:] == -1).all()
    assert batch.dense_rows.tolist() == np.arange(200).reshape(2, 100).tolist()


def test_neighbors_are_moved_to_the_rows_of_the_batch():
    import dataclasses

    jets = packed_jets(2, 1)
    local = np.array([[0, 1], [1, 0], [2, 2], [0, 1], [1, 0]], dtype=np.int16)
    jets = dataclasses.replace(jets, first_neighbors=local)
    batch = batch_of(jets, [1, 0], n_neighbors=2)
    assert batch.first_neighbors.tolist() == [[0, 1], [1, 0], [2, 3], [3, 2], [4, 4]]


@given(st.lists(st.integers(1, 100), min_size=1, max_size=5), st.integers(0, 2**16))
def test_padded_and_listed_jets_are_packed_alike(n_real, seed):
    generator = np.random.default_rng(seed)
    padded = np.zeros((len(n_real), 100, N_FEATURES), np.float32)
    for jet, n in enumerate(n_real):
        padded[jet, :n] = generator.uniform(0.5, 1.0, (n, N_FEATURES))
    lists = np.concatenate([padded[jet, :n] for jet, n in enumerate(n_real)])
    mass_gev = generator.uniform(0, 200, len(n_real)).astype(np.float32)
    jet_class = np.arange(len(n_real))
    from_padded = pack_padded(padded, mass_gev, jet_class)
    from_lists = pack_lists(lists, np.array(n_real), mass_gev, jet_class)
    for name in ("features", "n_rows", "n_padded", "mass_gev", "jet_class"):
        assert np.array_equal(getattr(from_padded, name), getattr(from_lists, name)), name


def test_a_real_constituent_may_have_zeros_among_its_features():
    padded = np.zeros((1, 100, N_FEATURES), np.float32)
    padded[0, 0, 3] = 0.25
    assert pack_padded(padded, np.ones(1, np.float32), np.zeros(1, np.int64)).n_rows.tolist() == [
        2
    ]
