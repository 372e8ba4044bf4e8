"""The two losses of UCluster (arXiv:2010.07106, section 3); sums over jets, not means.

Sums, since the workers of a group may hold different numbers of jets: the mean is over all jets of
the group.
"""

import tensorflow as tf

from ucluster_tune.config.trial import LossConfig

_LEAST_DOUBT = 1e-12


def focal_loss_sum(logits: tf.Tensor, mass_bin: tf.Tensor, loss: LossConfig) -> tf.Tensor:
    """Return the sum over jets of scale (1 - p)^gamma (-ln(p + epsilon)), p of the true mass bin.

    Args:
        logits: float32 [jet, mass bin].
        mass_bin: int32 [jet].
        loss: constants.
    """
    probabilities = tf.gather(tf.nn.softmax(logits), mass_bin, batch_dims=1) + loss.focal_epsilon
    # Never 0, where a power below 1 has an infinite slope, nor below it.
    focus = tf.pow(tf.maximum(1.0 - probabilities, _LEAST_DOUBT), loss.focal_gamma)
    return loss.focal_scale * tf.reduce_sum(-focus * tf.math.log(probabilities))


def squared_distances(embedding: tf.Tensor, centroids: tf.Tensor) -> tf.Tensor:
    """Return float32 [jet, cluster]: squared Euclidean distance to each centroid."""
    return tf.reduce_sum(tf.math.squared_difference(embedding[:, None, :], centroids), axis=-1)


def clustering_loss_sum(
    embedding: tf.Tensor, centroids: tf.Tensor, inverse_temperature: tf.Tensor
) -> tf.Tensor:
    """Return the sum over jets of sum_k softmax_k(-alpha (d_k - min d)) d_k.

    Args:
        embedding: float32 [jet, dim].
        centroids: float32 [cluster, dim].
        inverse_temperature: alpha.
    """
    distances = squared_distances(embedding, centroids)
    nearest = tf.reduce_min(distances, axis=1, keepdims=True)
    memberships = tf.nn.softmax(-inverse_temperature * (distances - nearest))
    return tf.reduce_sum(memberships * distances)
