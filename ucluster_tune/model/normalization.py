"""Batch norm over weighted rows, fused with the ReLU that follows it everywhere.

The biases that the published network adds before each batch norm cancel in it: they have no
gradient and only shift the stored mean. They are kept as variables so that published weights come
in and go out whole, and enter here through that shift alone.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import tensorflow as tf

SumOverGroup = Callable[[tf.Tensor, str], tf.Tensor]
"""Returns the sum of a tensor over all workers; the name tells one sum from another."""

Relu = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]
"""ReLU(batch norm) as a pure function of values [row, channel], gamma and beta; returns the result
and the mean and variance that it used."""


def of_this_worker(tensor: tf.Tensor, name: str) -> tf.Tensor:
    """Return `tensor`: the sum over a group of one, and over none where workers stay apart."""
    del name
    return tensor


class Normalization(Protocol):
    """How a layer is normalised: with the batch's own moments, or with stored averages."""

    def relu_function(self, name: str, weights: tf.Tensor) -> Relu:
        """Return ReLU(batch norm) of a layer for rows that stand for `weights` equal ones."""

    def keep(self, name: str, mean: tf.Tensor, variance: tf.Tensor) -> None:
        """Take note of the moments of a layer's values, without its bias."""

    def of_differences(
        self, name: str, projected: tf.Tensor, neighbors: tf.Tensor, weights: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return scale and shift [channel]: batch norm(x_i - x_j) is (x_i - x_j) scale + shift.

        Args:
            name: of the layer.
            projected: x, float32 [row, channel].
            neighbors: int32 [row, neighbor]; rows.
            weights: float32 [row]; how many equal rows each row stands for.
        """


class BatchNormalization:
    """Normalises with the moments of the batch and keeps them for the averages.

    Args:
        parameters: all weights by name.
        epsilon: added to the variance.
        sum_over_group: makes the moments those of all workers' rows; by default each worker has
            its own.
    """

    def __init__(
        self,
        parameters: Mapping[str, tf.Tensor],
        epsilon: float,
        sum_over_group: SumOverGroup = of_this_worker,
    ) -> None:
        self._parameters = parameters
        self._epsilon = epsilon
        self._sum_over_group = sum_over_group
        self.moments: dict[str, tf.Tensor] = {}

    def relu_function(self, name: str, weights: tf.Tensor) -> Relu:
        """Return ReLU(batch norm) with the moments of its argument; see `Normalization`."""
        return _batch_norm_relu(self._shares(name, weights), self._epsilon, self._sum_of(name))

    def keep(self, name: str, mean: tf.Tensor, variance: tf.Tensor) -> None:
        """Keep a layer's moments, with the bias that the published averages hold."""
        bias = self._parameters.get(f"{name}/biases")
        mean = tf.stop_gradient(mean)
        self.moments[f"{name}/mean"] = mean if bias is None else mean + tf.stop_gradient(bias)
        self.moments[f"{name}/variance"] = tf.stop_gradient(variance)

    def of_differences(
        self, name: str, projected: tf.Tensor, neighbors: tf.Tensor, weights: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return scale and shift from the moments of the differences; see `Normalization`."""
        mean, variance = _moments_of_differences(
            projected, neighbors, self._shares(name, weights), self._sum_of(name)
        )
        self.keep(name, mean, variance)
        return _scale_and_shift(self._parameters, name, mean, variance, self._epsilon)

    def _shares(self, name: str, weights: tf.Tensor) -> tf.Tensor:
        """Return the share of each row in the moments; over all rows in them they sum to 1."""
        return weights / self._sum_of(name)(tf.reduce_sum(weights), "weight")

    def _sum_of(self, name: str) -> SumOverGroup:
        return lambda tensor, part: self._sum_over_group(tensor, f"batch_norm/{name}/{part}")


class StoredNormalization:
    """Normalises with the averages kept during training: inference.

    Args:
        parameters: all weights by name.
        averages: mean and variance of each layer by name.
        epsilon: added to the variance.
    """

    def __init__(
        self,
        parameters: Mapping[str, tf.Tensor],
        averages: Mapping[str, tf.Tensor],
        epsilon: float,
    ) -> None:
        self._parameters = parameters
        self._averages = averages
        self._epsilon = epsilon

    def relu_function(self, name: str, weights: tf.Tensor) -> Relu:
        """Return ReLU(batch norm) with the stored averages; see `Normalization`."""
        del weights  # the averages do not depend on this batch
        mean, variance = self._stored(name)

        def relu(
            values: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            scale = gamma * tf.math.rsqrt(variance + self._epsilon)
            return tf.nn.relu(values * scale + (beta - mean * scale)), mean, variance

        return relu

    def keep(self, name: str, mean: tf.Tensor, variance: tf.Tensor) -> None:
        """Do nothing: inference changes no averages."""

    def of_differences(
        self, name: str, projected: tf.Tensor, neighbors: tf.Tensor, weights: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return scale and shift from the stored averages; see `Normalization`."""
        del projected, neighbors, weights
        mean, variance = self._stored(name)
        return _scale_and_shift(self._parameters, name, mean, variance, self._epsilon)

    def _stored(self, name: str) -> tuple[tf.Tensor, tf.Tensor]:
        """Return mean, without the layer's bias, and variance."""
        mean = self._averages[f"{name}/mean"]
        if f"{name}/biases" in self._parameters:
            mean -= self._parameters[f"{name}/biases"]
        return mean, self._averages[f"{name}/variance"]


def normalized_relu(
    normalization: Normalization,
    parameters: Mapping[str, tf.Tensor],
    name: str,
    values: tf.Tensor,
    weights: tf.Tensor,
) -> tf.Tensor:
    """Return ReLU(batch norm(values)) of a layer.

    Args:
        normalization: of this pass.
        parameters: all weights by name.
        name: of the layer.
        values: float32 [row, channel], without the layer's bias.
        weights: float32 [row]; how many equal rows each row stands for.
    """
    relu = normalization.relu_function(name, weights)
    output, mean, variance = relu(values, parameters[f"{name}/gamma"], parameters[f"{name}/beta"])
    normalization.keep(name, mean, variance)
    return output


def _scale_and_shift(
    parameters: Mapping[str, tf.Tensor],
    name: str,
    mean: tf.Tensor,
    variance: tf.Tensor,
    epsilon: float,
) -> tuple[tf.Tensor, tf.Tensor]:
    scale = parameters[f"{name}/gamma"] * tf.math.rsqrt(variance + epsilon)
    return scale, parameters[f"{name}/beta"] - mean * scale


def _moments_of_differences(
    projected: tf.Tensor, neighbors: tf.Tensor, shares: tf.Tensor, sum_over_group: SumOverGroup
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return mean and biased variance of x_i - x_j over all edges, [channel], without making them.

    The sum over edges of (x_i - x_j)^2 needs sums over rows alone, and the sum of each row's
    neighbours. Differences do not see a common shift, so x is centred first: what cancels between
    the terms then is no larger than the variance of x.
    """
    n_rows, n_neighbors = tf.shape(neighbors)[0], neighbors.shape[1]
    centre = _weighted_sum(projected, shares / tf.reduce_sum(shares))  # of this worker's rows
    centered = projected - tf.stop_gradient(centre)
    edges = tf.stack(
        [
            tf.repeat(tf.range(n_rows, dtype=tf.int64), n_neighbors),
            tf.reshape(tf.cast(neighbors, tf.int64), [-1]),
        ],
        axis=1,
    )
    share_of_edge = tf.fill([n_rows * n_neighbors], tf.constant(1 / n_neighbors, projected.dtype))
    n_rows_64 = tf.cast(n_rows, tf.int64)
    adjacency = tf.SparseTensor(edges, share_of_edge, [n_rows_64, n_rows_64])
    of_neighbors = tf.sparse.sparse_dense_matmul(adjacency, centered)
    shares_as_neighbor = tf.stop_gradient(
        tf.sparse.sparse_dense_matmul(adjacency, shares[:, None], adjoint_a=True)[:, 0]
    )
    mean = _weighted_sum(centered - of_neighbors, shares)
    squares = _weighted_sum(centered * (centered - 2 * of_neighbors), shares)
    squares += _weighted_sum(tf.square(centered), shares_as_neighbor)
    mean = _summed_with_gradient(mean, sum_over_group, "mean")
    squares = _summed_with_gradient(squares, sum_over_group, "square")
    return mean, tf.maximum(squares - tf.square(mean), 0.0)


def _summed_with_gradient(tensor: tf.Tensor, sum_over_group: SumOverGroup, name: str) -> tf.Tensor:
    """Return the sum of `tensor` over the group.

    Each worker's loss depends on it, so the gradient of all losses together is the sum of theirs.
    """

    @tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def summed(own: tf.Tensor) -> tuple[tf.Tensor, object]:
        return sum_over_group(own, name), lambda d: sum_over_group(d, f"{name}_gradient")

    return summed(tensor)


def _batch_norm_relu(
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
