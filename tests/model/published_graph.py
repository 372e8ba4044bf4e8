"""The published network written out plainly: padded, with every bias and the dead self branch.

An independent second formulation for tests; slow and simple on purpose.
"""

from collections.abc import Mapping

import tensorflow as tf

EPSILON = 1e-3


class PlainNetwork:
    """Follows design and published code line by line, on float [jet, 100, 8].

    Normalises with the moments of the batch and keeps them, or with `averages` where given.
    """

    def __init__(
        self,
        weights: Mapping[str, tf.Tensor],
        averages: Mapping[str, tf.Tensor] | None = None,
        n_neighbors: int = 10,
    ) -> None:
        self.weights, self.averages, self.k = weights, averages, n_neighbors
        self.moments: dict[str, tf.Tensor] = {}

    def normed(self, layer: str, values: tf.Tensor) -> tf.Tensor:
        if self.averages is None:
            mean, variance = tf.nn.moments(values, list(range(values.shape.rank - 1)))
            self.moments[f"{layer}/mean"], self.moments[f"{layer}/variance"] = mean, variance
        else:
            mean, variance = self.averages[f"{layer}/mean"], self.averages[f"{layer}/variance"]
        beta, gamma = self.weights[f"{layer}/beta"], self.weights[f"{layer}/gamma"]
        return tf.nn.relu(tf.nn.batch_normalization(values, mean, variance, beta, gamma, EPSILON))

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

    def __call__(self, jets: tf.Tensor, first: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return embedding and logits; `first` are the first neighbours [jet, 100, k]."""
        attention_1, local_1 = self.attend("first_attention", jets, first)
        hidden_1 = self.conv("first_convolution_1", tf.concat([jets, attention_1], -1))
        hidden_2 = self.conv("first_convolution_2", hidden_1)
        second = nearest(pairwise(tf.stop_gradient(hidden_2)), self.k)
        attention_2, local_2 = self.attend("second_attention", hidden_2, second)
        hidden_3 = self.conv("second_convolution_1", tf.concat([jets, attention_2], -1))
        hidden_4 = self.conv("second_convolution_2", hidden_3)
        joined = tf.concat([hidden_1, hidden_2, hidden_3, hidden_4, local_1, local_2], -1)
        embedding = tf.reduce_mean(self.conv("embedding", joined), axis=1)
        hidden = self.conv("head_2", self.conv("head_1", embedding))
        return embedding, hidden @ self.weights["logits/weights"] + self.weights["logits/biases"]


def nearest(distance: tf.Tensor, k: int) -> tf.Tensor:
    return tf.math.top_k(-distance, k).indices


def nearest_in_angle(jets: tf.Tensor, k: int = 10) -> tf.Tensor:
    """First neighbours; no difference of phi reaches 2 pi here."""
    padding = tf.cast(jets[:, :, 2] == 0, jets.dtype) * 1000.0
    return nearest(pairwise(jets[:, :, :2]) + padding[:, :, None] + padding[:, None, :], k)


def pairwise(points: tf.Tensor) -> tf.Tensor:
    """Squared distances, the terms in the published order."""
    inner = -2 * tf.matmul(points, points, transpose_b=True)
    squares = tf.reduce_sum(tf.square(points), axis=-1, keepdims=True)
    return squares + inner + tf.transpose(squares, [0, 2, 1])


def focal(logits: tf.Tensor, mass_bin: tf.Tensor) -> tf.Tensor:
    p = tf.gather(tf.nn.softmax(logits), mass_bin, batch_dims=1) + 1e-9
    return tf.reduce_mean(10 * (1 - p) ** 4 * -tf.math.log(p))


def kmeans(embedding: tf.Tensor, centroids: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
    d = tf.reduce_sum((embedding[:, None, :] - centroids) ** 2, -1)
    e = tf.exp(-alpha * (d - tf.reduce_min(d, -1, keepdims=True)))
    return tf.reduce_mean(tf.reduce_sum(e / tf.reduce_sum(e, -1, keepdims=True) * d, -1))
