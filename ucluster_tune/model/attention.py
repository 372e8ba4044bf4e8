"""One head of the graph-attention block of ABCNet (arXiv:2001.05311, section 3).

The published recipe has one; several, each with weights of its own, are put side by side.
"""

from collections.abc import Mapping

import tensorflow as tf

from ucluster_tune.model.normalization import Normalization
from ucluster_tune.model.operations.interface import Graph, LogitLayer, Operations
from ucluster_tune.model.parameters import Shape


def head_names(block: str, n_heads: int) -> list[str]:
    """Return the names of a block's heads; the first one has the block's own.

    >>> head_names("first_attention", 2)
    ['first_attention', 'first_attention/head_2']
    """
    return [block, *(f"{block}/head_{number}" for number in range(2, n_heads + 1))]


def attention_entries(name: str, n_inputs: int, width: int) -> list[tuple[str, Shape]]:
    """Return names and shapes of a head's weights.

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
    """Return names and channels of a head's layers with batch norm."""
    return [
        (f"{name}/edge", width),
        (f"{name}/self", width),
        (f"{name}/self_logit", 1),
        (f"{name}/neighbor_logit", 1),
    ]


def attend(
    name: str,
    inputs: tf.Tensor,
    graph: Graph,
    weights: tf.Tensor,
    parameters: Mapping[str, tf.Tensor],
    normalization: Normalization,
    operations: Operations,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the attention feature and the local feature, each float32 [row, width].

    Args:
        name: of the head.
        inputs: float32 [row, channel].
        graph: the edges.
        weights: float32 [row]; see `PackedBatch`.
        parameters: all weights by name.
        normalization: of this pass.
        operations: that do the work.

    Edges are y_ij = ReLU(batch norm(conv(x_i - x_j))). The convolution is linear, so it is made
    once a row instead of once an edge, and so is the scale of the batch norm. The published
    LeakyReLU on the logits acts on numbers that a ReLU made non-negative, so it changes nothing
    and is left out.
    """
    edge, neighbor_logit = f"{name}/edge", f"{name}/neighbor_logit"
    projected = tf.matmul(inputs, parameters[f"{edge}/weights"])
    scale, shift = normalization.of_differences(edge, projected, graph, weights)
    logit = LogitLayer(
        *(parameters[f"{neighbor_logit}/{part}"] for part in ("weights", "gamma", "beta")),
        normalization.relu_function(neighbor_logit, tf.repeat(weights, graph.neighbors.shape[1])),
    )
    features = operations.edge_features(projected, graph, scale, shift, logit)
    normalization.keep(neighbor_logit, features.logit_mean, features.logit_variance)
    attention = tf.nn.relu(features.attended + parameters[f"{name}/output/biases"])
    return attention, features.largest


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
