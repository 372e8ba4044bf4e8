"""Matchings and intervals against trying everything and against resampling jets one by one."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ucluster_tune.training.matching import (
    accuracy_interval,
    batched_accuracy_interval,
    matched_jets,
)

CONFUSION = np.array([[60, 25, 3], [30, 50, 10], [5, 12, 45]])
N_RESAMPLES = 4000


def brute_force(confusion):
    """The most jets on any one-to-one matching, with padding so that all are tried."""
    size = max(confusion.shape)
    square = np.zeros((size, size), int)
    square[: confusion.shape[0], : confusion.shape[1]] = confusion
    return max(
        sum(square[k, c] for k, c in enumerate(order)) for order in permutations(range(size))
    )


@given(
    st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 5)).flatmap(
        lambda shape: arrays(np.int64, shape, elements=st.integers(0, 20))
    )
)
def test_matched_jets_are_those_of_the_best_matching(confusions):
    assert matched_jets(confusions).tolist() == [brute_force(c) for c in confusions]


def test_many_clusters_are_matched_too():
    """More matchings than are tried one by one."""
    confusions = np.random.default_rng(0).integers(0, 50, (3, 8, 7))
    assert matched_jets(confusions).tolist() == [brute_force(c) for c in confusions]


def labels():
    """Cluster and class of each jet behind CONFUSION."""
    cells = CONFUSION.reshape(-1)
    cluster, jet_class = np.divmod(np.repeat(np.arange(9), cells), 3)
    return cluster, jet_class


def accuracy(cluster, jet_class):
    return max(np.mean(np.array(order)[cluster] == jet_class) for order in permutations(range(3)))


def test_interval_is_that_of_resampled_jets():
    """The same distribution, drawn in another way: equal up to the chance of the draws."""
    cluster, jet_class = labels()
    generator = np.random.default_rng(7)
    found = []
    for _ in range(N_RESAMPLES):
        drawn = generator.integers(0, len(cluster), len(cluster))
        found.append(accuracy(cluster[drawn], jet_class[drawn]))
    wanted = np.percentile(found, [2.5, 97.5])
    assert accuracy_interval(CONFUSION, N_RESAMPLES, 3) == pytest.approx(wanted, abs=0.008)


def test_batched_interval_is_that_of_resampled_jets_in_batches():
    cluster, jet_class = labels()
    batch = 50
    generator = np.random.default_rng(7)
    found = []
    for _ in range(N_RESAMPLES):
        drawn = generator.integers(0, len(cluster), len(cluster))
        batches = drawn[: len(drawn) // batch * batch].reshape(-1, batch)
        found.append(np.mean([accuracy(cluster[part], jet_class[part]) for part in batches]))
    wanted = np.percentile(found, [2.5, 97.5])
    interval = batched_accuracy_interval(CONFUSION, batch, N_RESAMPLES, 3)
    assert interval == pytest.approx(wanted, abs=0.008)


def test_intervals_are_the_percentiles_of_the_same_draws():
    """To the bit: numpy's multinomial with the same seed, matched by trying everything."""
    n_jets = int(CONFUSION.sum())
    generator = np.random.default_rng(11)
    draws = generator.multinomial(n_jets, CONFUSION.reshape(-1) / n_jets, size=300)
    matched = [brute_force(draw.reshape(3, 3)) / n_jets for draw in draws]
    wanted = np.percentile(matched, [2.5, 97.5])
    assert accuracy_interval(CONFUSION, 300, 11) == pytest.approx(wanted, abs=1e-12)


def test_slices_of_the_work_make_no_difference(monkeypatch):
    wanted = batched_accuracy_interval(CONFUSION, 50, 200, 5)
    monkeypatch.setattr("ucluster_tune.training.matching._CELLS_AT_A_TIME", 100)
    assert batched_accuracy_interval(CONFUSION, 50, 200, 5) == pytest.approx(wanted, abs=1e-12)


def test_fewer_jets_than_a_batch_are_one_batch():
    assert batched_accuracy_interval(CONFUSION, 512, 200, 5) == accuracy_interval(
        CONFUSION, 200, 5
    )


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """Of clusterings drawn from known shares, some 95 % of the intervals hold the truth."""
    shares = CONFUSION / CONFUSION.sum()
    truth = brute_force(CONFUSION) / CONFUSION.sum()
    generator = np.random.default_rng(2)
    covered = []
    for _ in range(300):
        drawn = generator.multinomial(400, shares.reshape(-1)).reshape(3, 3)
        low, high = accuracy_interval(drawn, 300, 1)
        covered.append(low <= truth <= high)
    assert 0.90 < np.mean(covered) < 0.99
