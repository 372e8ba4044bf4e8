"""The published network written out plainly: padded, with every bias and the dead self branch.

An independent second formulation for tests; slow and simple on purpose.
"""

from collections.abc import Mapping

import tensorflow as tf

EPSILON = 1e-3


class PlainNetwork:
    """Follows design and published code line by line, on float [jet, 100, 8]."""

    def __init__(self, weights: Mapping[str, tf.Tensor], n_neighbors: int = 10) -> None:
        self.weights = weights
        self.k = n_neighbors
        self.moments: dict[str, tf.Tensor] = {}

    def normed(self, layer: str, values: tf.Tensor) -> tf.Tensor:
        axes = list(range(values.shape.rank - 1))
        mean, variance = tf.nn.moments(values, axes)
        self.moments[f"{layer}/mean"], self.moments[f"{layer}/variance"] = mean, variance
        return tf.nn.relu(
            tf.nn.batch_normalization(
                values,
                mean,
                variance,
                self.weights[f"{layer}/beta"],
                self.weights[f"{layer}/gamma"],
                EPSILON,
            )
        )

    def conv(self, layer: str, values: tf.Tensor) -> tf.Tensor:
        product = tf.tensordot(values, self.weights[f"{layer}/weights"], 1)
        if f"{layer}/biases" in self.weights:
            product += self.weights[f"{layer}/biases"]
        return self.normed(layer, product)

    def attend(
        self, name: str, values: tf.Tensor, neighbors: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        own = self.conv(f"{name}/self", values)
        gathered = tf.gather(values, neighbors, batch_dims=1)
        edges = self.conv(f"{name}/edge", values[:, :, None, :] - gathered)
        self_logit = self.conv(f"{name}/self_logit", own)[:, :, None, :]
        logits = self_logit + self.conv(f"{name}/neighbor_logit", edges)
        coefficients = tf.nn.softmax(tf.nn.leaky_relu(logits, 0.2), axis=2)
        attended = tf.reduce_sum(coefficients * edges, axis=2)
        return (
            tf.nn.relu(attended + self.weights[f"{name}/output/biases"]),
            tf.reduce_max(edges, axis=2),
        )

    def nearest(self, distance: tf.Tensor) -> tf.Tensor:
        return tf.math.top_k(-distance, self.k).indices

    def __call__(self, jets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pt_is_zero = tf.cast(jets[:, :, 2] == 0, jets.dtype) * 1000.0
        first = pairwise(jets[:, :, :2]) + pt_is_zero[:, :, None] + pt_is_zero[:, None, :]
        attention_1, local_1 = self.attend("first_attention", jets, self.nearest(first))
        hidden_1 = self.conv("first_convolution_1", tf.concat([jets, attention_1], -1))
        hidden_2 = self.conv("first_convolution_2", hidden_1)
        second = self.nearest(pairwise(tf.stop_gradient(hidden_2)))
        attention_2, local_2 = self.attend("second_attention", hidden_2, second)
        hidden_3 = self.conv("second_convolution_1", tf.concat([jets, attention_2], -1))
        hidden_4 = self.conv("second_convolution_2", hidden_3)
        joined = tf.concat([hidden_1, hidden_2, hidden_3, hidden_4, local_1, local_2], -1)
        embedding = tf.reduce_mean(self.conv("embedding", joined), axis=1)
        hidden = self.conv("head_2", self.conv("head_1", embedding))
        return embedding, hidden @ self.weights["logits/weights"] + self.weights["logits/biases"]


def pairwise(points: tf.Tensor) -> tf.Tensor:
    """Squared distances, the terms in the published order; no phi difference reaches 2 pi here."""
    inner = -2 * tf.matmul(points, points, transpose_b=True)
    squares = tf.reduce_sum(tf.square(points), axis=-1, keepdims=True)
    return squares + inner + tf.transpose(squares, [0, 2, 1])


def focal(logits: tf.Tensor, mass_bin: tf.Tensor) -> tf.Tensor:
    p = tf.gather(tf.nn.softmax(logits), mass_bin, batch_dims=1) + 1e-9
    return tf.reduce_mean(10 * (1 - p) ** 4 * -tf.math.log(p))


def kmeans(embedding: tf.Tensor, centroids: tf.Tensor, alpha: float) -> tf.Tensor:
    d = tf.reduce_sum((embedding[:, None, :] - centroids) ** 2, -1)
    e = tf.exp(-alpha * (d - tf.reduce_min(d, -1, keepdims=True)))
    return tf.reduce_mean(tf.reduce_sum(e / tf.reduce_sum(e, -1, keepdims=True) * d, -1))
