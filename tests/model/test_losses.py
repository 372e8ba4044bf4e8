"""Losses against numbers worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf

from ucluster_tune.config.trial import CROSS_ENTROPY, LossConfig, ModelConfig
from ucluster_tune.model.losses import (
    clustering_loss_sum,
    focal_loss_sum,
    mass_bins,
    squared_distances,
)


def test_focal_loss_by_hand():
    """Two bins at equal odds: 10 (1 - 1/2)^4 ln 2, and once more."""
    logits = tf.constant([[0.0, 0.0], [7.0, 7.0]], tf.float64)
    loss = focal_loss_sum(logits, tf.constant([0, 1]), LossConfig())
    assert float(loss) == pytest.approx(2 * 10 * 0.5**4 * np.log(2), rel=1e-7)


def test_focal_loss_is_of_the_true_bin():
    logits = tf.constant([[np.log(3.0), 0.0]], tf.float64)  # p = 3/4 and 1/4
    config = LossConfig(focal_gamma=2.0, focal_scale=1.0)
    first = float(focal_loss_sum(logits, tf.constant([0]), config))
    second = float(focal_loss_sum(logits, tf.constant([1]), config))
    assert first == pytest.approx(0.25**2 * -np.log(0.75), rel=1e-7)
    assert second == pytest.approx(0.75**2 * -np.log(0.25), rel=1e-7)


def test_loss_of_classes_is_the_cross_entropy():
    generator = np.random.default_rng(1)
    logits, target = tf.constant(generator.normal(size=(9, 3))), generator.integers(0, 3, 9)
    loss = focal_loss_sum(logits, tf.constant(target, tf.int32), CROSS_ENTROPY)
    wanted = tf.nn.sparse_softmax_cross_entropy_with_logits(target, logits)
    assert float(loss) == pytest.approx(float(tf.reduce_sum(wanted)), rel=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.5, 4.0])
@pytest.mark.parametrize("epsilon", [1e-9, 1e-3])
@pytest.mark.parametrize("size", [50.0, 1e4])
def test_focal_loss_and_gradient_stay_finite_at_certainty(size, epsilon, gamma):
    """Right in the first jet, where p + epsilon is 1 or above, and wrong in the second."""
    logits = tf.constant([[size, -size], [-size, size]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        config = LossConfig(focal_gamma=gamma, focal_epsilon=epsilon)
        loss = focal_loss_sum(logits, tf.constant([0, 0]), config)
    assert float(loss) == pytest.approx(10 * -np.log(epsilon), rel=1e-2)
    assert np.isfinite(tape.gradient(loss, logits)).all()


def test_squared_distances_by_hand():
    found = squared_distances(tf.constant([[0.0, 3.0]]), tf.constant([[0.0, 0.0], [4.0, 3.0]]))
    assert found.numpy().tolist() == [[9.0, 16.0]]


def test_clustering_loss_by_hand():
    """Distances 1 and 4: memberships are 1 / (1 + e^(-3 alpha)) and the rest."""
    embedding = tf.constant([[0.0], [0.0]], tf.float64)
    centroids = tf.constant([[1.0], [2.0]], tf.float64)
    alpha = tf.constant(0.5, tf.float64)
    near = 1 / (1 + np.exp(-1.5))
    wanted = 2 * (near * 1 + (1 - near) * 4)
    assert float(clustering_loss_sum(embedding, centroids, alpha)) == pytest.approx(wanted)


def test_clustering_loss_of_a_large_alpha_is_the_nearest_distance():
    embedding = tf.constant([[0.0], [10.0]])
    loss = clustering_loss_sum(embedding, tf.constant([[1.0], [7.0]]), tf.constant(1e4))
    assert float(loss) == pytest.approx(1.0 + 9.0)


@pytest.mark.parametrize(
    ("mass_gev", "mass_bin"),
    [(0.0, 0), (10.5, 0), (10.6, 1), (189.4, 17), (189.5, 18), (200.0, 19), (1e4, 19)],
)
def test_mass_bins_are_those_of_the_published_code(mass_gev, mass_bin):
    """Edges are linspace(0, 200, 20), 10.53 GeV apart, and the last bin is the overflow."""
    assert mass_bins(np.array([mass_gev]), ModelConfig()).tolist() == [mass_bin]
