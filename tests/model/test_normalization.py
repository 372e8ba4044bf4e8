"""Batch norm over weighted rows against TensorFlow's own, over the rows written out."""

import numpy as np
import pytest
import tensorflow as tf

from ucluster_tune.model.normalization import (
    BatchNormalization,
    StoredNormalization,
    normalized_relu,
)

EPSILON = 1e-3
WEIGHTS = np.array([1.0, 1.0, 3.0, 1.0, 7.0])
N_CHANNELS = 4


def arrays(seed=0):
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(len(WEIGHTS), N_CHANNELS))
    parameters = {
        "layer/gamma": generator.normal(size=N_CHANNELS),
        "layer/beta": generator.normal(size=N_CHANNELS),
        "layer/biases": generator.normal(size=N_CHANNELS),
    }
    return tf.constant(values), {name: tf.constant(array) for name, array in parameters.items()}


def plain(values, parameters):
    """The published formula on the rows as often as they count, bias included."""
    rows = tf.repeat(values, WEIGHTS.astype(int), axis=0) + parameters["layer/biases"]
    mean, variance = tf.nn.moments(rows, [0])
    normed = tf.nn.batch_normalization(
        rows, mean, variance, parameters["layer/beta"], parameters["layer/gamma"], EPSILON
    )
    return tf.nn.relu(normed), mean, variance


def ours(values, parameters, operations):
    normalization = BatchNormalization(parameters, EPSILON, operations)
    output = normalized_relu(normalization, parameters, "layer", values, tf.constant(WEIGHTS))
    return output, normalization.moments


def test_output_and_moments_are_those_of_the_rows_written_out(operations):
    values, parameters = arrays()
    output, moments = ours(values, parameters, operations)
    wanted, mean, variance = plain(values, parameters)
    repeated = tf.repeat(output, WEIGHTS.astype(int), axis=0)
    assert np.abs(repeated - wanted).max() < 1e-12
    assert np.abs(moments["layer/mean"] - mean).max() < 1e-12
    assert np.abs(moments["layer/variance"] - variance).max() < 1e-12


def test_gradient_is_the_one_that_tensorflow_derives(operations):
    values, parameters = arrays()
    sources = [values, parameters["layer/gamma"], parameters["layer/beta"]]
    slopes = tf.constant(np.random.default_rng(1).normal(size=values.shape))

    def gradients(outputs_of, repeats):
        with tf.GradientTape() as tape:
            tape.watch([*sources, parameters["layer/biases"]])
            output = outputs_of(values, parameters)[0]
            total = tf.reduce_sum(output * tf.repeat(slopes, repeats, axis=0))
        return tape.gradient(total, sources)

    # A row that stands for n others gets the gradient of all n.
    weighted = tf.constant(WEIGHTS)[:, None]

    def ours_weighted(values, parameters):
        return (ours(values, parameters, operations)[0] * weighted,)

    found = gradients(ours_weighted, np.ones(len(WEIGHTS), int))
    wanted = gradients(plain, WEIGHTS.astype(int))
    for name, one, other in zip(("values", "gamma", "beta"), found, wanted, strict=True):
        assert np.abs(other).max() > 1e-3, name
        assert np.abs(one - other).max() < 1e-12, name


def test_biases_get_no_gradient(operations):
    values, parameters = arrays()
    with tf.GradientTape() as tape:
        tape.watch(parameters["layer/biases"])
        output, moments = ours(values, parameters, operations)
        total = tf.reduce_sum(output) + tf.reduce_sum(moments["layer/mean"])
    assert tape.gradient(total, parameters["layer/biases"]) is None


def test_stored_averages_hold_the_bias(operations):
    values, parameters = arrays()
    averages = {
        "layer/mean": tf.constant([0.5, 0.0, -1.0, 2.0], tf.float64),
        "layer/variance": tf.constant([1.0, 0.1, 0.0, 4.0], tf.float64),
    }
    found = normalized_relu(
        StoredNormalization(parameters, averages, EPSILON, operations),
        parameters,
        "layer",
        values,
        tf.constant(WEIGHTS),
    )
    wanted = tf.nn.relu(
        tf.nn.batch_normalization(
            values + parameters["layer/biases"],
            averages["layer/mean"],
            averages["layer/variance"],
            parameters["layer/beta"],
            parameters["layer/gamma"],
            EPSILON,
        )
    )
    assert np.abs(found - wanted).max() < 1e-12


def test_a_constant_channel_stays_finite(operations):
    values, parameters = arrays()
    constant = tf.ones_like(values) * 3.0
    output, moments = ours(constant, parameters, operations)
    assert np.isfinite(output).all()
    assert moments["layer/variance"].numpy() == pytest.approx([0.0] * N_CHANNELS)
