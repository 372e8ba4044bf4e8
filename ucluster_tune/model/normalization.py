"""Batch norm over weighted rows, fused with the ReLU that follows it everywhere.

The biases that the published network adds before each batch norm cancel in it: they have no
gradient and only shift the stored mean. They are kept as variables so that published weights come
in and go out whole, and enter here through that shift alone.
"""

from collections.abc import Mapping
from typing import Protocol

import tensorflow as tf


class Normalization(Protocol):
    """How a layer is normalised: with the batch's own moments, or with stored averages."""

    def relu_of(self, name: str, values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Return ReLU(batch norm(values)).

        Args:
            name: of the layer.
            values: float32 [row, channel], without the layer's bias.
            weights: float32 [row]; how many equal rows each row stands for.
        """


class BatchNormalization:
    """Normalises with the moments of the batch and keeps them for the averages.

    Args:
        parameters: all weights by name.
        epsilon: added to the variance.
    """

    def __init__(self, parameters: Mapping[str, tf.Tensor], epsilon: float) -> None:
        self._parameters = parameters
        self._epsilon = epsilon
        self.moments: dict[str, tf.Tensor] = {}

    def relu_of(self, name: str, values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Return ReLU(batch norm(values)); see `Normalization`."""
        shares = weights / tf.reduce_sum(weights)
        output, mean, variance = _batch_norm_relu(
            values,
            shares,
            self._parameters[f"{name}/gamma"],
            self._parameters[f"{name}/beta"],
            self._epsilon,
        )
        bias = self._parameters.get(f"{name}/biases")
        self.moments[f"{name}/mean"] = mean if bias is None else mean + tf.stop_gradient(bias)
        self.moments[f"{name}/variance"] = variance
        return output


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

    def relu_of(self, name: str, values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Return ReLU(batch norm(values)); see `Normalization`."""
        del weights  # the averages do not depend on this batch
        mean = self._averages[f"{name}/mean"]
        if f"{name}/biases" in self._parameters:
            mean -= self._parameters[f"{name}/biases"]
        deviation = tf.sqrt(self._averages[f"{name}/variance"] + self._epsilon)
        scale = self._parameters[f"{name}/gamma"] / deviation
        return tf.nn.relu(values * scale + (self._parameters[f"{name}/beta"] - mean * scale))


def _batch_norm_relu(
    values: tf.Tensor, shares: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return ReLU(batch norm), the batch's mean and its biased variance.

    `shares` [row] sum to 1. The gradient is written out since the one that TensorFlow derives
    from weighted moments reads and writes every row three times as often.
    """

    @tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def normalize(
        values: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor
    ) -> tuple[tuple[tf.Tensor, tf.Tensor, tf.Tensor], object]:
        mean = _weighted_sum(values, shares)
        centered = values - mean
        variance = _weighted_sum(tf.square(centered), shares)
        inverse_deviation = tf.math.rsqrt(variance + epsilon)
        output = tf.nn.relu(centered * (inverse_deviation * gamma) + beta)

        def gradient(
            d_output: tf.Tensor, _d_mean: tf.Tensor, _d_variance: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            d_normed = tf.raw_ops.ReluGrad(gradients=d_output, features=output)
            d_beta = tf.reduce_sum(d_normed, axis=0)
            d_gamma = tf.reduce_sum(d_normed * centered, axis=0) * inverse_deviation
            slope = gamma * inverse_deviation
            # Each row moves the mean and the variance by its share.
            through_moments = (centered * (inverse_deviation * d_gamma) + d_beta) * shares[:, None]
            return (d_normed - through_moments) * slope, d_gamma, d_beta

        return (output, mean, variance), gradient

    return normalize(values, gamma, beta)  # type: ignore[no-any-return]


def _weighted_sum(values: tf.Tensor, shares: tf.Tensor) -> tf.Tensor:
    """Return sum over rows of shares x values, [channel]; a product of matrices is fastest."""
    return tf.linalg.matvec(values, shares, transpose_a=True)
