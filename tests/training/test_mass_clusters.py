"""Clusters by mass alone, against trying every pair of thresholds and against scikit-learn."""

from itertools import combinations_with_replacement, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from ucluster_tune.training.mass_clusters import best_thresholds, intervals_of, kmeans_thresholds
from ucluster_tune.training.metrics import clustering_accuracy, confusion_matrix

JETS = st.integers(1, 25).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(1, 12), min_size=n, max_size=n),
        st.lists(st.integers(0, 3), min_size=n, max_size=n),
    )
)


def accuracy(interval, jet_class):
    return clustering_accuracy(confusion_matrix(interval, jet_class, 3, 4))


@given(JETS)
def test_no_pair_of_thresholds_is_better(jets):
    mass, jet_class = np.array(jets[0], np.float32), np.array(jets[1])
    found = best_thresholds(mass, jet_class)
    assert found[0] <= found[1]
    cuts = [0.5 + m for m in range(13)]
    best = max(
        accuracy(intervals_of(mass, np.array(pair)), jet_class)
        for pair in combinations_with_replacement(cuts, 2)
    )
    assert accuracy(intervals_of(mass, found), jet_class) == pytest.approx(best)


def test_thresholds_lie_between_the_masses_they_part():
    mass = np.array([80, 80, 82, 91, 91, 170], np.float32)
    assert best_thresholds(mass, np.array([0, 0, 0, 1, 1, 2])).tolist() == [86.5, 130.5]


def test_two_classes_need_one_threshold():
    mass = np.array([80, 80, 91, 91], np.float32)
    jet_class = np.array([0, 0, 1, 1])
    interval = intervals_of(mass, best_thresholds(mass, jet_class))
    assert accuracy(interval, jet_class) == 1.0


def test_five_classes_take_the_best_three():
    """Against all matchings of three intervals with three of five classes."""
    generator = np.random.default_rng(0)
    jet_class = generator.integers(0, 5, 400)
    mass = (generator.normal(size=400) * 6 + 20 * jet_class).astype(np.float32)
    interval = intervals_of(mass, best_thresholds(mass, jet_class))
    found = np.mean([interval[i] == 0 for i in range(400)])
    assert 0 < found < 1
    accuracies = [
        np.mean(np.array(order)[interval] == jet_class) for order in permutations(range(5), 3)
    ]
    assert max(accuracies) == pytest.approx(
        clustering_accuracy(confusion_matrix(interval, jet_class, 3, 5))
    )
    assert max(accuracies) > 0.55


def test_a_mass_on_a_threshold_is_above_it():
    assert intervals_of(np.array([1, 2, 3], np.float32), np.array([2.0])).tolist() == [0, 1, 1]


@pytest.mark.parametrize("n_clusters", [2, 3, 5])
def test_kmeans_thresholds_give_scikit_learns_clusters(n_clusters):
    generator = np.random.default_rng(1)
    mass = generator.gamma(4.0, 25.0, 1000).astype(np.float32)
    fit = KMeans(n_clusters, n_init=10, random_state=3).fit(mass[:, None].astype(np.float64))
    rank = np.argsort(np.argsort(fit.cluster_centers_[:, 0]))
    found = intervals_of(mass, kmeans_thresholds(mass, n_clusters, 3))
    assert np.array_equal(found, rank[fit.labels_])


def test_fewer_masses_than_clusters_are_no_fault():
    assert kmeans_thresholds(np.array([5, 5, 7], np.float32), 3, 1).tolist() == [6.0]
