"""Intervals over seeds and jets: against scipy where one effect stands alone; by simulation."""

import numpy as np
import pytest
from scipy import stats

from ucluster_tune.training.confidence import crossed_mean, rank_correlation, right_jets
from ucluster_tune.training.metrics import (
    batched_accuracies,
    clustering_accuracy,
    confusion_matrix,
)


def draw(generator, n_seeds, n_jets, seed_effect, jet_effect, mean=0.65):
    """Right and wrong jets of networks that differ, on jets of which some are hard for all."""
    of_seeds = generator.normal(0, seed_effect, n_seeds)[:, None]
    of_jets = generator.choice([-jet_effect, jet_effect], n_jets)
    return (generator.random((n_seeds, n_jets)) < mean + of_seeds + of_jets).astype(float)


@pytest.mark.parametrize("n_seeds", [3, 5])
@pytest.mark.parametrize(
    ("seed_effect", "jet_effect"),
    [(0.03, 0.3), (0.0, 0.3), (0.03, 0.0), (0.005, 0.2)],
)
def test_interval_holds_the_true_accuracy_as_often_as_it_says(n_seeds, seed_effect, jet_effect):
    """In 600 made-up confirmations; a little more often where seeds hardly differ."""
    generator = np.random.default_rng(n_seeds)
    intervals = np.array(
        [
            crossed_mean(draw(generator, n_seeds, 400, seed_effect, jet_effect)).interval
            for _ in range(600)
        ]
    )
    covered = np.mean((intervals[:, 0] <= 0.65) & (intervals[:, 1] >= 0.65))
    assert 0.93 < covered < 0.99


def test_interval_of_a_paired_difference_holds_the_true_one():
    generator = np.random.default_rng(7)
    found = []
    for _ in range(600):
        of_seeds = generator.normal(0, 0.02, (2, 4, 1))  # of two configurations
        hard = generator.choice([-0.3, 0.3], 400)  # for both
        values = generator.random((2, 4, 400)) < 0.65 + hard + of_seeds + [[[0.02]], [[0.0]]]
        found.append(crossed_mean(values[0].astype(float) - values[1]).interval)
    covered = np.mean([low <= 0.02 <= high for low, high in found])
    assert 0.93 < covered < 0.99


def test_jets_alone_would_be_too_sure_of_themselves():
    """What the simulation would see if seeds were forgotten: the test above can fail."""
    generator = np.random.default_rng(3)
    covered = []
    for _ in range(400):
        values = draw(generator, 3, 400, 0.03, 0.0)
        error = values.std(ddof=1) / np.sqrt(values.size)
        covered.append(abs(values.mean() - 0.65) < 1.96 * error)
    assert np.mean(covered) < 0.8


def test_seeds_that_agree_by_chance_are_not_certain():
    """Two seeds are right for as many jets, but not for the same ones."""
    first = np.arange(100) % 2
    found = crossed_mean(np.stack([first, 1 - first]).astype(float))
    low, high = found.interval
    assert found.mean == 0.5
    assert high - low > 0.15
    shifted = crossed_mean(np.stack([first, 1 - first]) - 0.45)
    assert 0.8 < shifted.probability_above_zero < 0.99


def test_one_seed_gives_students_interval_of_the_jets():
    values = np.random.default_rng(1).random((1, 50))
    found = crossed_mean(values)
    expected = stats.ttest_1samp(values[0], 0.0)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found.probability_above_zero == pytest.approx(1 - expected.pvalue / 2)
    assert found.spread is None


def test_seeds_that_differ_on_jets_that_do_not_give_students_interval_of_the_seeds():
    of_seeds = np.array([0.6, 0.7, 0.66])
    found = crossed_mean(np.repeat(of_seeds[:, None], 100, axis=1))
    expected = stats.ttest_1samp(of_seeds, 0.0).confidence_interval(0.95)
    assert found.interval == pytest.approx(tuple(expected))
    assert found.spread == pytest.approx(of_seeds.std(ddof=1))


@pytest.mark.parametrize(("value", "above"), [(0.0, 0.5), (0.2, 1.0), (-0.2, 0.0)])
def test_values_that_are_all_the_same_are_certain(value, above):
    found = crossed_mean(np.full((3, 10), value))
    assert found.interval == pytest.approx((value, value))
    assert found.probability_above_zero == above


def test_mean_of_right_jets_is_the_accuracy_in_both_protocols():
    generator = np.random.default_rng(2)
    jet_class = generator.integers(0, 3, 1100)
    is_kept = generator.random(1100) < 0.7
    cluster = np.where(is_kept, (jet_class + 1) % 3, generator.integers(0, 4, 1100))
    once = right_jets(cluster, jet_class, (4, 3))
    assert once.mean() == clustering_accuracy(confusion_matrix(cluster, jet_class, 4, 3))
    batched = right_jets(cluster, jet_class, (4, 3), 512)
    assert len(batched) == 1024
    assert batched.mean() == pytest.approx(
        np.mean(batched_accuracies(cluster, jet_class, 4, 3, 512))
    )


def test_a_rank_correlation_is_spearman_s_and_its_interval_holds_it():
    first, second = np.random.default_rng(1).integers(0, 9, (2, 30)).astype(float)
    found, (low, high) = rank_correlation(first, second)
    assert found == pytest.approx(stats.spearmanr(first, second).statistic)
    assert -1 <= low < found < high <= 1
    assert rank_correlation(first, -first)[0] == pytest.approx(-1)
