"""Batch norm over weighted rows, fused with the ReLU that follows it everywhere.

The biases that the published network adds before each batch norm cancel in it: they have no
gradient and only shift the stored mean. They are kept as variables so that published weights come
in and go out whole, and enter here through that shift alone.
"""

from collections.abc import Mapping
from typing import Protocol

import tensorflow as tf

from ucluster_tune.model.operations.interface import Graph, Operations, Relu
from ucluster_tune.model.operations.stock import SumOverGroup, batch_norm_relu, of_this_worker


class Normalization(Protocol):
    """How a layer is normalised: with the batch's own moments, or with stored averages."""

    def relu_function(self, name: str, weights: tf.Tensor) -> Relu:
        """Return ReLU(batch norm) of a layer for rows that stand for `weights` equal ones."""

    def keep(self, name: str, mean: tf.Tensor, variance: tf.Tensor) -> None:
        """Take note of the moments of a layer's values, without its bias."""

    def of_differences(
        self, name: str, projected: tf.Tensor, graph: Graph, weights: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return scale and shift [channel]: batch norm(x_i - x_j) is (x_i - x_j) scale + shift.

        Args:
            name: of the layer.
            projected: x, float32 [row, channel].
            graph: the edges.
            weights: float32 [row]; how many equal rows each row stands for.
        """


class BatchNormalization:
    """Normalises with the moments of the batch and keeps them for the averages.

    Args:
        parameters: all weights by name.
        epsilon: added to the variance.
        operations: that do the work.
        sum_over_group: makes the moments those of all workers' rows; by default each worker has
            its own.
    """

    def __init__(
        self,
        parameters: Mapping[str, tf.Tensor],
        epsilon: float,
        operations: Operations,
        sum_over_group: SumOverGroup = of_this_worker,
    ) -> None:
        self._parameters = parameters
        self._epsilon = epsilon
        self._operations = operations
        self._sum_over_group = sum_over_group
        self.moments: dict[str, tf.Tensor] = {}

    def relu_function(self, name: str, weights: tf.Tensor) -> Relu:
        """Return ReLU(batch norm) with the moments of its argument; see `Normalization`."""
        shares = self._shares(name, weights)
        if self._sum_over_group is of_this_worker:
            return self._operations.batch_norm_relu(shares, self._epsilon)
        return batch_norm_relu(shares, self._epsilon, self._sum_of(name))

    def keep(self, name: str, mean: tf.Tensor, variance: tf.Tensor) -> None:
        """Keep a layer's moments, with the bias that the published averages hold."""
        bias = self._parameters.get(f"{name}/biases")
        mean = tf.stop_gradient(mean)
        self.moments[f"{name}/mean"] = mean if bias is None else mean + tf.stop_gradient(bias)
        self.moments[f"{name}/variance"] = tf.stop_gradient(variance)

    def of_differences(
        self, name: str, projected: tf.Tensor, graph: Graph, weights: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return scale and shift from the moments of the differences; see `Normalization`."""
        mean, square = (
            _summed_with_gradient(moment, self._sum_of(name), part)
            for moment, part in zip(
                self._operations.edge_moments(projected, graph, self._shares(name, weights)),
                ("mean", "square"),
                strict=True,
            )
        )
        variance = tf.maximum(square - tf.square(mean), 0.0)
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
        operations: that do the work.
    """

    def __init__(
        self,
        parameters: Mapping[str, tf.Tensor],
        averages: Mapping[str, tf.Tensor],
        epsilon: float,
        operations: Operations,
    ) -> None:
        self._parameters = parameters
        self._averages = averages
        self._epsilon = epsilon
        self._operations = operations

    def relu_function(self, name: str, weights: tf.Tensor) -> Relu:
        """Return ReLU(batch norm) with the stored averages; see `Normalization`."""
        del weights  # the averages do not depend on this batch
        mean, variance = self._stored(name)

        def relu(
            values: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            scale = gamma * tf.math.rsqrt(variance + self._epsilon)
            shift = beta - mean * scale
            return self._operations.scale_shift_relu(values, scale, shift), mean, variance

        return relu

    def keep(self, name: str, mean: tf.Tensor, variance: tf.Tensor) -> None:
        """Do nothing: inference changes no averages."""

    def of_differences(
        self, name: str, projected: tf.Tensor, graph: Graph, weights: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return scale and shift from the stored averages; see `Normalization`."""
        del projected, graph, weights
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


def _summed_with_gradient(tensor: tf.Tensor, sum_over_group: SumOverGroup, name: str) -> tf.Tensor:
    """Return the sum of `tensor` over the group.

    Each worker's loss depends on it, so the gradient of all losses together is the sum of theirs.
    """

    @tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def summed(own: tf.Tensor) -> tuple[tf.Tensor, object]:
        return sum_over_group(own, name), lambda d: sum_over_group(d, f"{name}_gradient")

    return summed(tensor)
