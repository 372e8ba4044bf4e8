"""The graph-attention block of ABCNet (arXiv:2001.05311, section 3), with one head."""

from collections.abc import Mapping

import tensorflow as tf

from ucluster_tune.model.normalization import Normalization
from ucluster_tune.model.parameters import Shape


def attention_entries(name: str, n_inputs: int, width: int) -> list[tuple[str, Shape]]:
    """Return names and shapes of the block's weights.

    The layers `self` and `self_logit` are the published block's branch of the constituent itself.
    It acts on nothing: its logit is added to all neighbours alike, before a softmax over them
    that such a term leaves as it was. Its weights are kept so that published ones come in and
    go out whole.
    """
    return [
        *_layer_entries(f"{name}/edge", n_inputs, width),
        *_layer_entries(f"{name}/self", n_inputs, width, has_bias=False),
        *_layer_entries(f"{name}/self_logit", width, 1),
        *_layer_entries(f"{name}/neighbor_logit", width, 1),
        (f"{name}/output/biases", (width,)),
    ]


def normalized_layers(name: str, width: int) -> list[tuple[str, int]]:
    """Return names and channels of the block's layers with batch norm."""
    return [
        (f"{name}/edge", width),
        (f"{name}/self", width),
        (f"{name}/self_logit", 1),
        (f"{name}/neighbor_logit", 1),
    ]


def attend(
    name: str,
    inputs: tf.Tensor,
    neighbors: tf.Tensor,
    weights: tf.Tensor,
    parameters: Mapping[str, tf.Tensor],
    normalization: Normalization,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the attention feature and the local feature, each float32 [row, width].

    Args:
        name: of the block.
        inputs: float32 [row, channel].
        neighbors: int32 [row, neighbor]; rows.
        weights: float32 [row]; see `PackedBatch`.
        parameters: all weights by name.
        normalization: of this pass.

    Edges are y_ij = ReLU(batch norm(conv(x_i - x_j))). The convolution is linear, so it is made
    once a row instead of once an edge. The published LeakyReLU on the logits acts on numbers that
    a ReLU made non-negative, so it changes nothing and is left out.
    """
    n_neighbors = neighbors.shape[1]
    width = parameters[f"{name}/edge/weights"].shape[1]
    projected = tf.matmul(inputs, parameters[f"{name}/edge/weights"])
    differences = projected[:, None, :] - tf.gather(projected, neighbors)
    edge_weights = tf.repeat(weights, n_neighbors)

    edges = normalization.relu_of(
        f"{name}/edge", tf.reshape(differences, [-1, width]), edge_weights
    )
    logits = normalization.relu_of(
        f"{name}/neighbor_logit",
        tf.matmul(edges, parameters[f"{name}/neighbor_logit/weights"]),
        edge_weights,
    )
    coefficients = tf.nn.softmax(tf.reshape(logits, [-1, 1, n_neighbors]))
    edges = tf.reshape(edges, [-1, n_neighbors, width])
    attended = tf.squeeze(tf.matmul(coefficients, edges), axis=1)
    attention = tf.nn.relu(attended + parameters[f"{name}/output/biases"])
    return attention, tf.reduce_max(edges, axis=1)


def _layer_entries(
    layer: str, n_inputs: int, width: int, has_bias: bool = True
) -> list[tuple[str, Shape]]:
    biases: list[tuple[str, Shape]] = [(f"{layer}/biases", (width,))] if has_bias else []
    return [
        (f"{layer}/weights", (n_inputs, width)),
        *biases,
        (f"{layer}/gamma", (width,)),
        (f"{layer}/beta", (width,)),
    ]
