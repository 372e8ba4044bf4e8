"""The attention block against its formula written out edge by edge, gradients included."""

import numpy as np
import pytest
import tensorflow as tf

from ucluster_tune.model.attention import attend, attention_entries
from ucluster_tune.model.normalization import BatchNormalization, StoredNormalization
from ucluster_tune.model.operations.interface import Graph

N_INPUTS, WIDTH = 5, 4
NEIGHBORS = np.array(
    [[0, 1, 2], [1, 0, 2], [2, 2, 2], [3, 4, 6], [4, 3, 5], [5, 4, 6], [6, 6, 5]], np.int32
)  # rows 2 and 6 stand for padding, which is a neighbour several times
STARTS = np.array([0, 3, 7], np.int32)
WEIGHTS = np.array([1.0, 1.0, 98.0, 1.0, 1.0, 1.0, 97.0])
EPSILON = 1e-3


def setting(seed):
    generator = np.random.default_rng(seed)
    parameters = {
        name: tf.constant(generator.normal(size=shape))
        for name, shape in attention_entries("block", N_INPUTS, WIDTH)
    }
    return tf.constant(generator.normal(size=(len(WEIGHTS), N_INPUTS))), parameters


def normed(values, parameters, layer):
    """ReLU(batch norm) of [row, ..., channel] with moments over weighted rows."""
    weights = tf.reshape(WEIGHTS, [-1] + [1] * (len(values.shape) - 1)) * tf.ones_like(values)
    axes = list(range(len(values.shape) - 1))
    mean = tf.reduce_sum(values * weights, axes) / tf.reduce_sum(weights, axes)
    square = tf.reduce_sum((values - mean) ** 2 * weights, axes) / tf.reduce_sum(weights, axes)
    gamma, beta = parameters[f"{layer}/gamma"], parameters[f"{layer}/beta"]
    return tf.nn.relu((values - mean) / tf.sqrt(square + EPSILON) * gamma + beta)


def written_out(inputs, parameters):
    edges = inputs[:, None, :] - tf.gather(inputs, NEIGHBORS)
    edges = tf.tensordot(edges, parameters["block/edge/weights"], 1)
    edges = normed(edges + parameters["block/edge/biases"], parameters, "block/edge")
    logits = tf.tensordot(edges, parameters["block/neighbor_logit/weights"], 1)
    logits = normed(logits, parameters, "block/neighbor_logit")
    own = normed(tf.matmul(inputs, parameters["block/self/weights"]), parameters, "block/self")
    own = normed(
        tf.matmul(own, parameters["block/self_logit/weights"]), parameters, "block/self_logit"
    )
    coefficients = tf.nn.softmax(tf.nn.leaky_relu(logits + own[:, None, :], 0.2), axis=1)
    attended = tf.reduce_sum(coefficients * edges, axis=1)
    attention = tf.nn.relu(attended + parameters["block/output/biases"])
    return attention, tf.reduce_max(edges, axis=1)


def packed(inputs, parameters, operations):
    return attend(
        "block",
        inputs,
        Graph(tf.constant(NEIGHBORS), tf.constant(STARTS)),
        tf.constant(WEIGHTS),
        parameters,
        BatchNormalization(parameters, EPSILON, operations),
        operations,
    )


@pytest.mark.parametrize("seed", range(5))
def test_features_are_those_of_the_formula(seed, operations):
    inputs, parameters = setting(seed)
    found_and_wanted = zip(
        packed(inputs, parameters, operations), written_out(inputs, parameters), strict=True
    )
    for found, wanted in found_and_wanted:
        assert np.abs(wanted).max() > 0.1
        assert np.abs(found - wanted).max() < 1e-11


@pytest.mark.parametrize("seed", range(5))
def test_gradients_are_those_of_the_formula(seed, operations):
    inputs, parameters = setting(seed)
    generator = np.random.default_rng(100 + seed)
    slopes = [tf.constant(generator.normal(size=(len(WEIGHTS), WIDTH))) for _ in range(2)]

    sources = {"inputs": inputs, **parameters}

    def gradients(block):
        with tf.GradientTape() as tape:
            tape.watch(sources)
            outputs = block(inputs, parameters)
            total = tf.add_n(
                [tf.reduce_sum(o * slope) for o, slope in zip(outputs, slopes, strict=True)]
            )
        return tape.gradient(total, sources, unconnected_gradients="zero")

    found = gradients(lambda *block: packed(*block, operations))
    wanted = gradients(written_out)
    for name, gradient in wanted.items():
        assert np.abs(found[name] - gradient).max() < 1e-10, name
    acting = [name for name, gradient in wanted.items() if np.abs(gradient).max() > 1e-6]
    assert len(acting) == 8, "what acts must have a gradient, or nothing was compared"


def test_the_branch_of_the_constituent_itself_acts_on_nothing():
    inputs, parameters = setting(0)
    others = {
        name: value + 1.0 if "/self" in name else value for name, value in parameters.items()
    }
    for found, wanted in zip(
        written_out(inputs, others), written_out(inputs, parameters), strict=True
    ):
        assert np.abs(found - wanted).max() < 1e-12


def test_stored_averages_take_the_place_of_the_batch(operations):
    """With averages that are the batch's own moments, inference is the training pass."""
    inputs, parameters = setting(1)
    normalization = BatchNormalization(parameters, EPSILON, operations)
    graph = Graph(tf.constant(NEIGHBORS), tf.constant(STARTS))
    arguments = ("block", inputs, graph, tf.constant(WEIGHTS), parameters)
    in_training = attend(*arguments, normalization, operations)
    stored = StoredNormalization(parameters, normalization.moments, EPSILON, operations)
    for found, wanted in zip(attend(*arguments, stored, operations), in_training, strict=True):
        assert np.abs(found - wanted).max() < 1e-12
