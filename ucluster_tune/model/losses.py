"""The two losses of UCluster (arXiv:2010.07106, section 3); sums over jets, not means.

Sums, since the workers of a group may hold different numbers of jets: the mean is over all jets of
the group.
"""

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ucluster_tune.config.trial import LossConfig, ModelConfig

_LEAST_DOUBT = 1e-12


def mass_bins(mass_gev: npt.NDArray[np.float32], model: ModelConfig) -> npt.NDArray[np.int32]:
    """Return int32 [jet], the target of the pretraining head; the last bin takes all above.

    >>> mass_bins(np.array([5.0, 80.0, 500.0]), ModelConfig()).tolist()
    [0, 7, 19]
    """
    edges_gev = np.linspace(0.0, model.mass_bin_max_gev, model.n_mass_bins, dtype=np.float32)
    return (np.searchsorted(edges_gev, mass_gev, side="right") - 1).clip(0).astype(np.int32)


def focal_loss_sum(logits: tf.Tensor, target: tf.Tensor, loss: LossConfig) -> tf.Tensor:
    """Return the sum over jets of scale (1 - p)^gamma (-ln(p + epsilon)), p of the target.

    The target is the jet's mass bin; with gamma 0 this is the cross-entropy, by which a head
    learns classes. With `mass_bin_smoothing` s, the same of every bin, weighted with a target of
    s spread evenly over all bins and 1 - s more on the true one.

    Args:
        logits: float32 [jet, of the head].
        target: int32 [jet].
        loss: constants.
    """
    probabilities = tf.nn.softmax(logits)
    of_true_bin = _focal_terms(tf.gather(probabilities, target, batch_dims=1), loss)
    if loss.mass_bin_smoothing == 0:
        return loss.focal_scale * tf.reduce_sum(of_true_bin)
    evenly = tf.reduce_mean(_focal_terms(probabilities, loss), axis=1)
    smoothing = loss.mass_bin_smoothing
    smoothed = (1.0 - smoothing) * of_true_bin + smoothing * evenly
    return loss.focal_scale * tf.reduce_sum(smoothed)


def _focal_terms(probabilities: tf.Tensor, loss: LossConfig) -> tf.Tensor:
    probabilities += loss.focal_epsilon
    # Never 0, where a power below 1 has an infinite slope, nor below it.
    focus = tf.pow(tf.maximum(1.0 - probabilities, _LEAST_DOUBT), loss.focal_gamma)
    return -focus * tf.math.log(probabilities)


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


def centroid_separation_loss(centroids: tf.Tensor, length: float) -> tf.Tensor:
    """Return the mean over pairs of centroids of exp(-d / (2 length^2)), d their squared distance.

    1 where all are one point, 0 where they are far from each other. Not in the published recipe.

    Args:
        centroids: float32 [cluster, dim], at least two.
        length: over which they push each other.
    """
    n_clusters = centroids.shape[0]
    pushes = tf.exp(squared_distances(centroids, centroids) / (-2.0 * length**2))
    pairs = tf.linalg.band_part(pushes, 0, -1) - tf.linalg.band_part(pushes, 0, 0)
    return tf.reduce_sum(pairs) / (n_clusters * (n_clusters - 1) / 2)
