"""Every number of an agreement against another way to get it."""

from itertools import permutations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from ucluster_tune.data.reading.labels import SelectedLabels
from ucluster_tune.training.agreement import agreement_by_mass, agreement_of
from ucluster_tune.training.mass_clusters import best_thresholds, intervals_of, kmeans_thresholds
from ucluster_tune.training.matching import accuracy_interval, batched_accuracy_interval

N_JETS = 1300  # two whole batches of 512 and a rest


def make_labels(n_jets=N_JETS, seed=0, names=("w", "z", "t")):
    generator = np.random.default_rng(seed)
    jet_class = generator.integers(0, len(names), n_jets)
    mass_gev = generator.normal(80 + 45 * jet_class, 20).astype(np.float32)
    return SelectedLabels(mass_gev, jet_class, names, n_jets, 0, 0, 0)


def make_clusters(labels, n_clusters=3, seed=1):
    """Right for two jets in three, by chance for the others."""
    generator = np.random.default_rng(seed)
    by_chance = generator.integers(0, n_clusters, len(labels.jet_class))
    right = (labels.jet_class + 1) % n_clusters
    return np.where(generator.uniform(size=len(right)) < 0.67, right, by_chance)


def best_accuracy(cluster, jet_class, n=3):
    return max(np.mean(np.array(o)[cluster] == jet_class) for o in permutations(range(n)))


@pytest.fixture(scope="module")
def case():
    labels = make_labels()
    cluster = make_clusters(labels)
    return labels, cluster, agreement_of(cluster, labels, 3, 400, 9)


def test_accuracies_are_those_of_every_permutation_tried(case):
    labels, cluster, found = case
    assert found.clustering_accuracy == pytest.approx(best_accuracy(cluster, labels.jet_class))
    batches = [slice(0, 512), slice(512, 1024)]
    wanted = np.mean([best_accuracy(cluster[b], labels.jet_class[b]) for b in batches])
    assert found.clustering_accuracy_batched == pytest.approx(wanted)


def test_intervals_are_those_of_the_confusion_matrix(case):
    _, _, found = case
    confusion = np.array(found.confusion)
    assert found.clustering_accuracy_interval == accuracy_interval(confusion, 400, 9)
    wanted = batched_accuracy_interval(confusion, 512, 400, 9)
    assert found.clustering_accuracy_batched_interval == wanted
    low, high = found.clustering_accuracy_interval
    assert low < found.clustering_accuracy < high


def test_purity_nmi_and_ari_are_scikit_learns(case):
    labels, cluster, found = case
    largest = sum(np.bincount(labels.jet_class[cluster == k]).max() for k in range(3))
    assert found.purity == pytest.approx(largest / N_JETS)
    assert found.nmi == pytest.approx(normalized_mutual_info_score(labels.jet_class, cluster))
    assert found.ari == pytest.approx(adjusted_rand_score(labels.jet_class, cluster))


def test_confusion_counts_jets(case):
    labels, cluster, found = case
    for k in range(3):
        for c in range(3):
            assert found.confusion[k][c] == np.sum((cluster == k) & (labels.jet_class == c))


def test_efficiency_and_purity_by_class(case):
    labels, cluster, found = case
    for index, name in enumerate(labels.class_names):
        quality = found.by_class[name]
        assert quality.cluster == (index + 1) % 3, "the one most jets of the class are in"
        of_class, in_cluster = labels.jet_class == index, cluster == quality.cluster
        assert quality.n_jets == of_class.sum()
        assert quality.efficiency == pytest.approx(in_cluster[of_class].mean())
        assert quality.purity == pytest.approx(of_class[in_cluster].mean())


def test_a_class_without_cluster_has_no_purity():
    labels = make_labels()
    found = agreement_of(make_clusters(labels, 2), labels, 2, 100, 1)
    alone = [q for q in found.by_class.values() if q.cluster is None]
    assert len(alone) == 1
    assert (alone[0].efficiency, alone[0].purity) == (0.0, None)


def test_an_empty_cluster_has_no_purity():
    labels = make_labels(names=("w", "z"))
    found = agreement_of(np.zeros(N_JETS, np.int64), labels, 3, 100, 1)
    empty = [q for q in found.by_class.values() if q.cluster != 0]
    assert [(q.efficiency, q.purity) for q in empty] == [(0.0, None)]


def test_mass_alone_is_chosen_on_training_jets():
    labels, training = make_labels(), make_labels(seed=5)
    found = agreement_by_mass(labels, training, 3, 100, 2)
    for name, cuts in (
        ("kmeans_mass", kmeans_thresholds(training.mass_gev, 3, 2)),
        ("mass_thresholds", best_thresholds(training.mass_gev, training.jet_class)),
    ):
        assert found[name].thresholds_gev == [cuts.tolist()]
        cluster = intervals_of(labels.mass_gev, cuts)
        assert found[name].clustering_accuracy == pytest.approx(
            best_accuracy(cluster, labels.jet_class)
        )


def test_without_training_jets_each_half_is_measured_with_the_other():
    labels = make_labels()
    found = agreement_by_mass(labels, None, 3, 100, 2)
    cluster = np.zeros(N_JETS, int)
    even, odd = slice(0, None, 2), slice(1, None, 2)
    for chosen, applied in ((even, odd), (odd, even)):
        cuts = best_thresholds(labels.mass_gev[chosen], labels.jet_class[chosen])
        cluster[applied] = intervals_of(labels.mass_gev[applied], cuts)
    accuracy = best_accuracy(cluster, labels.jet_class)
    assert found["mass_thresholds"].clustering_accuracy == pytest.approx(accuracy)
    assert len(found["mass_thresholds"].thresholds_gev or []) == 2


def test_one_jet_is_measured_too():
    labels = make_labels(1, names=("w",))
    assert agreement_of(np.array([2]), labels, 3, 100, 1).clustering_accuracy == 1.0
    assert agreement_by_mass(labels, None, 3, 100, 1)["kmeans_mass"].clustering_accuracy == 1.0
