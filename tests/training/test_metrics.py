"""Numbers that describe a clustering, against scikit-learn and against trying everything."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from ucluster_tune.training.metrics import (
    batched_accuracies,
    cluster_quality,
    clustering_accuracy,
    confusion_matrix,
)

LABELS = st.integers(1, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 3), min_size=n, max_size=n),
        st.lists(st.integers(0, 2), min_size=n, max_size=n),
    )
)


def best_matching(cluster, jet_class):
    """Accuracy of the best assignment of different classes to the 4 clusters, None to one."""
    return max(
        np.mean([chosen[c] == t for c, t in zip(cluster, jet_class, strict=True)])
        for chosen in permutations((0, 1, 2, None))
    )


@given(LABELS)
def test_accuracy_is_that_of_the_best_matching(labels):
    cluster, jet_class = np.array(labels[0]), np.array(labels[1])
    confusion = confusion_matrix(cluster, jet_class, 4, 3)
    assert clustering_accuracy(confusion) == pytest.approx(best_matching(cluster, jet_class))


@given(LABELS)
def test_quality_from_the_matrix_is_that_from_the_labels(labels):
    cluster, jet_class = np.array(labels[0]), np.array(labels[1])
    confusion = confusion_matrix(cluster, jet_class, 4, 3)
    quality = cluster_quality(confusion, 0.25)
    assert quality.clustering_accuracy_batched == 0.25
    assert quality.nmi == pytest.approx(normalized_mutual_info_score(jet_class, cluster))
    assert quality.ari == pytest.approx(adjusted_rand_score(jet_class, cluster))
    largest = sum(np.bincount(jet_class[cluster == c]).max() for c in np.unique(cluster))
    assert quality.purity == pytest.approx(largest / len(cluster))


def test_confusion_counts_jets_by_cluster_and_class():
    found = confusion_matrix(np.array([0, 0, 3, 1]), np.array([2, 2, 0, 1]), 4, 3)
    assert found.tolist() == [[0, 0, 2], [0, 1, 0], [0, 0, 0], [1, 0, 0]]
    assert found.dtype == np.int64


def test_batches_are_matched_each_for_itself():
    """Clusters change their names between the batches: perfect in each, useless over both."""
    cluster, jet_class = np.array([0, 0, 1, 1, 1, 1, 0, 0]), np.array([0, 0, 1, 1] * 2)
    assert batched_accuracies(cluster, jet_class, 2, 2, 4) == [1.0, 1.0]
    assert clustering_accuracy(confusion_matrix(cluster, jet_class, 2, 2)) == 0.5


def test_jets_that_fill_no_batch_are_left_out():
    cluster, jet_class = np.array([0, 1, 0]), np.array([0, 1, 1])
    assert batched_accuracies(cluster, jet_class, 2, 2, 2) == [1.0]


def test_fewer_jets_than_a_batch_are_one_batch():
    cluster, jet_class = np.array([0, 1, 0]), np.array([0, 1, 1])
    assert batched_accuracies(cluster, jet_class, 2, 2, 512) == [pytest.approx(2 / 3)]
