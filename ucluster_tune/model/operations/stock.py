"""The costly parts of the network in stock TensorFlow: for GPUs, and where C++ cannot be built.

The edges, [row, neighbor, channel], are by far the largest arrays, and time is what it takes to
read and write them. So gradients are written out where TensorFlow's own would make more of them.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ucluster_tune.data.format.packed import PackedBatch
from ucluster_tune.model.neighbors import feature_space_neighbors
from ucluster_tune.model.operations.interface import EdgeFeatures, Graph, LogitLayer, Relu

SumOverGroup = Callable[[tf.Tensor, str], tf.Tensor]
"""Returns the sum of a tensor over all workers; the name tells one sum from another."""


def of_this_worker(tensor: tf.Tensor, name: str) -> tf.Tensor:
    """Return `tensor`: the sum over a group of one, and over none where workers stay apart."""
    del name
    return tensor


class StockOperations:
    """`Operations` in stock TensorFlow."""

    name = "stock"

    def edge_moments(
        self, values: tf.Tensor, graph: Graph, shares: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the means over edges of x_i - x_j and of its square; see `Operations`.

        The sum over edges of (x_i - x_j)^2 needs sums over rows alone, and the sum of each row's
        neighbours. Differences do not see a common shift, so x is centred first: what cancels
        between the terms then is no larger than the variance of x.
        """
        neighbors = graph.neighbors
        n_rows, n_neighbors = tf.shape(neighbors)[0], neighbors.shape[1]
        centre = _weighted_sum(values, shares / tf.reduce_sum(shares))
        centered = values - tf.stop_gradient(centre)
        edges = tf.stack(
            [
                tf.repeat(tf.range(n_rows, dtype=tf.int64), n_neighbors),
                tf.reshape(tf.cast(neighbors, tf.int64), [-1]),
            ],
            axis=1,
        )
        share_of_edge = tf.fill([n_rows * n_neighbors], tf.constant(1 / n_neighbors, values.dtype))
        n_rows_64 = tf.cast(n_rows, tf.int64)
        adjacency = tf.SparseTensor(edges, share_of_edge, [n_rows_64, n_rows_64])
        of_neighbors = tf.sparse.sparse_dense_matmul(adjacency, centered)
        shares_as_neighbor = tf.stop_gradient(
            tf.sparse.sparse_dense_matmul(adjacency, shares[:, None], adjoint_a=True)[:, 0]
        )
        mean = _weighted_sum(centered - of_neighbors, shares)
        squares = _weighted_sum(centered * (centered - 2 * of_neighbors), shares)
        return mean, squares + _weighted_sum(tf.square(centered), shares_as_neighbor)

    def edge_features(
        self,
        values: tf.Tensor,
        graph: Graph,
        scale: tf.Tensor,
        shift: tf.Tensor,
        logit: LogitLayer,
    ) -> EdgeFeatures:
        """Return what becomes of the edges, which are kept for the gradient; see `Operations`."""
        scaled = values * scale
        return EdgeFeatures(
            *_edge_features(graph.neighbors, logit.relu)(
                scaled + shift, scaled, logit.weights, logit.gamma, logit.beta
            )
        )

    def batch_norm_relu(self, shares: tf.Tensor, epsilon: float) -> Relu:
        """Return ReLU(batch norm) with its argument's own moments; see `Operations`."""
        return batch_norm_relu(shares, epsilon, of_this_worker)

    def scale_shift_relu(self, values: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
        """Return ReLU(scale values + shift); see `Operations`."""
        return tf.nn.relu(values * scale + shift)

    def feature_space_neighbors(
        self, values: tf.Tensor, batch: PackedBatch, n_neighbors: int, takes_padding_last: bool
    ) -> tf.Tensor:
        """Return the nearest rows in the space of `values`; see `Operations`."""
        is_padding = tf.reduce_all(tf.equal(batch.features, 0.0), axis=1)
        return feature_space_neighbors(
            values,
            batch.dense_rows,
            batch.dense_columns,
            n_neighbors,
            is_padding if takes_padding_last else None,
        )


def _edge_features(neighbors: tf.Tensor, logit_relu: Relu) -> Callable[..., Any]:
    """Return the function from the two ends of the edges to what is made of them.

    With u_i = scale x_i + shift and v_j = scale x_j, an edge is y_ij = ReLU(u_i - v_j). The
    function takes u and v, both [row, channel], and the logit's weights, gamma and beta; it
    returns sum_j softmax_j y_ij, max_j y_ij, and the moments of the logits.
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


def batch_norm_relu(
    shares: tf.Tensor, epsilon: float, sum_over_group: SumOverGroup = of_this_worker
) -> Relu:
    """Return the function whose result is ReLU(batch norm), the mean and the biased variance.

    `shares` [row] sum to 1 over all rows of the group. The gradient is written out since the one
    that TensorFlow derives from weighted moments reads and writes every row three times as often.
    """

    @tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def relu(
        values: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor
    ) -> tuple[tuple[tf.Tensor, tf.Tensor, tf.Tensor], object]:
        mean = sum_over_group(_weighted_sum(values, shares), "mean")
        centered = values - mean
        variance = sum_over_group(_weighted_sum(tf.square(centered), shares), "variance")
        inverse_deviation = tf.math.rsqrt(variance + epsilon)
        output = tf.nn.relu(centered * (inverse_deviation * gamma) + beta)

        def gradient(
            d_output: tf.Tensor, _d_mean: tf.Tensor, _d_variance: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            d_normed = tf.raw_ops.ReluGrad(gradients=d_output, features=output)
            d_beta = tf.reduce_sum(d_normed, axis=0)
            d_gamma = tf.reduce_sum(d_normed * centered, axis=0) * inverse_deviation
            slope = gamma * inverse_deviation
            # Each row moves the mean and the variance by its share, for the rows of all workers;
            # the gradients of gamma and beta are added up later, with those of all parameters.
            of_all = sum_over_group(tf.stack([d_gamma, d_beta]), "gradient")
            through_moments = (centered * (inverse_deviation * of_all[0]) + of_all[1]) * (
                shares[:, None]
            )
            return (d_normed - through_moments) * slope, d_gamma, d_beta

        return (output, mean, variance), gradient

    return relu  # type: ignore[no-any-return]


def _weighted_sum(values: tf.Tensor, shares: tf.Tensor) -> tf.Tensor:
    """Return sum over rows of shares x values, [channel]; a product of matrices is fastest."""
    return tf.linalg.matvec(values, shares, transpose_a=True)
