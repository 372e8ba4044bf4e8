"""One head of the graph-attention block of ABCNet (arXiv:2001.05311, section 3).

The published recipe has one; several, each with weights of its own, are put side by side.
"""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from ucluster_tune.model.normalization import Normalization, Relu
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
    neighbors: tf.Tensor,
    weights: tf.Tensor,
    parameters: Mapping[str, tf.Tensor],
    normalization: Normalization,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the attention feature and the local feature, each float32 [row, width].

    Args:
        name: of the head.
        inputs: float32 [row, channel].
        neighbors: int32 [row, neighbor]; rows.
        weights: float32 [row]; see `PackedBatch`.
        parameters: all weights by name.
        normalization: of this pass.

    Edges are y_ij = ReLU(batch norm(conv(x_i - x_j))). The convolution is linear, so it is made
    once a row instead of once an edge, and so is the scale of the batch norm. The published
    LeakyReLU on the logits acts on numbers that a ReLU made non-negative, so it changes nothing
    and is left out.
    """
    edge, neighbor_logit = f"{name}/edge", f"{name}/neighbor_logit"
    projected = tf.matmul(inputs, parameters[f"{edge}/weights"])
    scale, shift = normalization.of_differences(edge, projected, neighbors, weights)
    scaled = projected * scale
    attended, local, mean, variance = _attend_to_edges(
        neighbors, normalization.relu_function(neighbor_logit, _per_edge(weights, neighbors))
    )(
        scaled + shift,
        scaled,
        parameters[f"{neighbor_logit}/weights"],
        parameters[f"{neighbor_logit}/gamma"],
        parameters[f"{neighbor_logit}/beta"],
    )
    normalization.keep(neighbor_logit, mean, variance)
    return tf.nn.relu(attended + parameters[f"{name}/output/biases"]), local


def _attend_to_edges(neighbors: tf.Tensor, logit_relu: Relu) -> Callable[..., Any]:
    """Return the function from the two ends of the edges to what is made of them.

    With u_i = scale x_i + shift and v_j = scale x_j, an edge is y_ij = ReLU(u_i - v_j). The
    function takes u and v, both [row, channel], and the logit's weights, gamma and beta; it
    returns sum_j softmax_j y_ij, max_j y_ij, and the moments of the logits.

    The edges are by far the largest arrays of the network, [row, neighbor, channel], and time is
    what it takes to read and write them. So they are all that is kept, and the gradient is
    written out: TensorFlow's own would make several more arrays of their size.
    """

    @tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def attend_to(
        u: tf.Tensor, v: tf.Tensor, logit_weights: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor
    ) -> tuple[tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], object]:
        n_neighbors, width = neighbors.shape[1], u.shape[1]
        edges = tf.nn.relu(u[:, None, :] - tf.gather(v, neighbors))
        flat_edges = tf.reshape(edges, [-1, width])
        local = tf.reduce_max(edges, axis=1)
        logits = tf.reshape(tf.matmul(flat_edges, logit_weights), [-1, n_neighbors])

        def softmax(logits: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> Any:
            normed, mean, variance = logit_relu(tf.reshape(logits, [-1, 1]), gamma, beta)
            return tf.nn.softmax(tf.reshape(normed, [-1, n_neighbors])), mean, variance

        with tf.GradientTape() as tape:
            tape.watch([logits, gamma, beta])
            coefficients, mean, variance = softmax(logits, gamma, beta)
        attended = tf.squeeze(tf.matmul(coefficients[:, None, :], edges), axis=1)

        def gradient(
            d_attended: tf.Tensor, d_local: tf.Tensor, _d_mean: tf.Tensor, _d_variance: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            d_coefficients = tf.linalg.matvec(edges, d_attended)
            d_logits, d_gamma, d_beta = tape.gradient(
                coefficients, [logits, gamma, beta], output_gradients=d_coefficients
            )
            d_weights = tf.matmul(flat_edges, tf.reshape(d_logits, [-1, 1]), transpose_a=True)
            # d_edges = d_logits x weights + coefficients x d_attended, and d_local where an edge
            # is the largest; all where the ReLU is open. A padded row can be a neighbour several
            # times: equal edges share the gradient.
            d_edges = tf.matmul(
                tf.stack([d_logits, coefficients], axis=2),
                tf.stack([tf.broadcast_to(logit_weights[:, 0], tf.shape(u)), d_attended], axis=1),
            )
            is_largest = tf.cast(tf.equal(edges, local[:, None, :]), u.dtype)
            d_edges += is_largest * (d_local / tf.reduce_sum(is_largest, axis=1))[:, None, :]
            d_edges = tf.raw_ops.ReluGrad(gradients=d_edges, features=edges)
            d_u = tf.reduce_sum(d_edges, axis=1)
            d_v = -tf.math.unsorted_segment_sum(d_edges, neighbors, tf.shape(v)[0])
            return d_u, d_v, d_weights, d_gamma, d_beta

        return (attended, local, mean, variance), gradient

    return attend_to  # type: ignore[no-any-return]


def _per_edge(weights: tf.Tensor, neighbors: tf.Tensor) -> tf.Tensor:
    return tf.repeat(weights, neighbors.shape[1])


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
