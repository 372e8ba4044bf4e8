"""Adam as TensorFlow 1 has it, and the schedules."""

import numpy as np
import pytest
import tensorflow as tf

from ucluster_tune.config.trial import TrainingConfig
from ucluster_tune.model.optimizer import (
    AdamState,
    adam_step_size,
    adam_update,
    batch_norm_momentum_after,
    inverse_temperature_in,
    learning_rate_after,
)

TRAINING = TrainingConfig()


def our_steps(start, gradients):
    parameters = tf.Variable(start)
    state = AdamState(tf.Variable(tf.zeros_like(start)), tf.Variable(tf.zeros_like(start)))
    for step, gradient in enumerate(gradients, start=1):
        size = tf.constant(adam_step_size(TRAINING, 1e-3, step), start.dtype)
        adam_update(parameters, state, tf.constant(gradient), size, TRAINING)
    return parameters.numpy()


def tensorflow_1_steps(start, gradients):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variable = tf.compat.v1.get_variable("x", initializer=start)
        fed = tf.compat.v1.placeholder(start.dtype, start.shape)
        update = tf.compat.v1.train.AdamOptimizer(1e-3).apply_gradients([(fed, variable)])
        session.run(tf.compat.v1.global_variables_initializer())
        for gradient in gradients:
            session.run(update, {fed: gradient})
        return session.run(variable)


@pytest.mark.parametrize("scale", [1.0, 1e-7])
def test_adam_moves_as_in_tensorflow_1(scale):
    """Also where the gradient is so small that the place of epsilon shows."""
    generator = np.random.default_rng(0)
    start = generator.normal(size=50)
    gradients = generator.normal(size=(12, 50)) * scale
    ours, theirs = our_steps(start, gradients), tensorflow_1_steps(start, gradients)
    assert np.abs(theirs - start).max() > 1e-4
    # TensorFlow 1 keeps beta 0.9 and 0.999 in single precision, also beside float64 weights.
    assert np.abs(ours - theirs).max() < 1e-7


def test_adam_of_the_paper_would_move_otherwise():
    """Where epsilon is inside the bias correction, as Kingma & Ba have it, the result differs."""
    gradient, start = np.full((1, 1), 1e-7), np.zeros(1)
    ours = our_steps(start, gradient)[0]
    of_the_paper = -1e-3 * 1e-7 / (1e-7 + 1e-8)
    assert ours == pytest.approx(-1e-3 * 1e-7 / (1e-7 + 1e-8 / np.sqrt(1e-3)), rel=1e-6)
    assert abs(ours / of_the_paper - 1) > 0.1


@pytest.mark.parametrize(
    ("n_jets", "rate"),
    [(0, 1e-3), (499_999, 1e-3), (500_000, 5e-4), (1_500_000, 1.25e-4), (10**8, 1e-5)],
)
def test_learning_rate_is_halved_down_to_its_floor(n_jets, rate):
    assert learning_rate_after(n_jets, TRAINING) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("n_jets", "share"),
    [(0, 0.5), (499_999, 0.5), (500_000, 0.25), (2_000_000, 0.03125), (10**8, 0.01)],
)
def test_averages_move_less_and_less(n_jets, share):
    """The published momentum m is 1 minus that share, and at most 0.99."""
    assert batch_norm_momentum_after(n_jets, TRAINING) == pytest.approx(share)


@pytest.mark.parametrize(
    ("epoch", "alpha"), [(1, 0.0), (21, 0.0), (22, 4.0), (23, 6.0), (200, 360.0)]
)
def test_inverse_temperature_grows_in_the_clustering_phase(epoch, alpha):
    """The published 2 (epoch - pretraining_epochs + 1), with epochs counted from 0."""
    assert inverse_temperature_in(epoch, 21, 4.0, 2.0) == alpha
