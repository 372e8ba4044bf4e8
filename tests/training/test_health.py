"""What is noticed at the end of an epoch, from what its steps tell."""

import numpy as np
import pytest

from ucluster_tune.training.health import StepHealth, epoch_warnings


def steps_of(cluster_jets, means=(1.0, 2.0), deviations=(0.5, 0.5)):
    """Steps with these jets by cluster; means and deviations for all or for each of them."""
    n = len(cluster_jets)
    means = np.broadcast_to(np.asarray(means, float), (n, 2))
    deviations = np.broadcast_to(np.asarray(deviations, float), (n, 2))
    return [
        StepHealth(
            step=index + 1,
            learning_rate=1e-3 / (index + 1),
            cluster_jets=np.array(jets, float),
            embedding_mean=means[index],
            embedding_variance=deviations[index] ** 2,
        )
        for index, jets in enumerate(cluster_jets)
    ]


EVEN = [200, 200, 200]


def test_a_healthy_epoch_has_no_warning():
    assert epoch_warnings(steps_of([EVEN] * 4), 7, in_pretraining=False) == []


def test_an_empty_cluster_is_told_with_the_step_it_was_left_by_the_last_jet():
    jets = [EVEN, [0, 300, 300], [1, 299, 300], [0, 300, 300], [0, 300, 300]]
    (warning,) = epoch_warnings(steps_of(jets), 7, in_pretraining=False)
    assert warning == (
        "empty cluster: no jet is nearest to centroid 0 since epoch 7, step 4,"
        " at learning rate 0.00025"
    )


def test_a_cluster_that_some_late_jet_is_in_is_not_empty():
    """The last 1000 jets are looked at: the last two steps here."""
    jets = [EVEN, [0, 300, 300], [1, 299, 300], [0, 300, 300]]
    assert epoch_warnings(steps_of(jets), 7, in_pretraining=False) == []


def test_a_cluster_that_filled_early_and_emptied_is_told():
    jets = [EVEN] * 3 + [[300, 300, 0]] * 2
    (warning,) = epoch_warnings(steps_of(jets), 2, in_pretraining=False)
    assert "centroid 2 since epoch 2, step 4" in warning


def test_an_all_swallowing_cluster_is_told_with_its_share():
    jets = [EVEN] + [[1, 597, 2]] * 2
    (warning,) = epoch_warnings(steps_of(jets), 3, in_pretraining=False)
    assert warning.startswith("all-swallowing cluster: cluster 1 holds 99.5 % of the jets since")
    assert "epoch 3, step 2, at learning rate 0.0005" in warning


@pytest.mark.parametrize("n_others", [6, 7])
def test_ninety_nine_percent_are_the_limit(n_others):
    jets = [[600 - n_others, n_others - 1, 1]] * 2
    warned = bool(epoch_warnings(steps_of(jets), 1, in_pretraining=False))
    assert warned == (n_others < 6)


def test_clusters_are_not_looked_at_in_pretraining():
    assert epoch_warnings(steps_of([[600, 0, 0]] * 2), 1, in_pretraining=True) == []


def test_a_collapsed_embedding_is_told_in_both_phases():
    deviations = [[0.5, 0.5], [1e-4, 1e-4], [1e-5, 0.0]]
    for in_pretraining in (True, False):
        steps = steps_of([EVEN] * 3, deviations=deviations)
        (warning,) = epoch_warnings(steps, 4, in_pretraining)
        assert warning == (
            "collapsed embedding: jets differ by 4e-06 of its size since epoch 4, step 2,"
            " at learning rate 0.0005"
        )


def test_an_embedding_that_recovers_is_no_warning():
    deviations = [[0.0, 0.0], [0.5, 0.5]]
    assert epoch_warnings(steps_of([EVEN] * 2, deviations=deviations), 1, True) == []


def test_only_zero_for_all_jets_is_dead():
    dead, point, alive = (
        steps_of([EVEN], means, deviations)[0]
        for means, deviations in (((0, 0), (0, 0)), ((1, 0), (0, 0)), ((0, 0), (1, 0)))
    )
    assert [step.is_dead for step in (dead, point, alive)] == [True, False, False]
