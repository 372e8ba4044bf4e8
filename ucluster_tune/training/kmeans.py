"""k-means on the embeddings of all ranks: the centroids that the clustering phase starts from."""

import numpy as np
import numpy.typing as npt

from ucluster_tune.training.group import Group


def kmeans_centroids(
    embedding: npt.NDArray[np.float32], n_clusters: int, n_init: int, seed: int, group: Group
) -> npt.NDArray[np.float32]:
    """Return float32 [cluster, dim], the same on all ranks.

    Args:
        embedding: float32 [jet, dim]; this rank's jets.
        n_clusters: number of centroids.
        n_init: starts, of which the best is kept.
        seed: of the starts.
        group: the workers; rank 0 does the work for all.
    """
    gathered = group.gather(embedding, name="embedding")
    centroids = np.zeros((n_clusters, embedding.shape[1]), np.float32)
    if group.rank == 0:  # one result for all, whatever the number of threads
        centroids = _fit(gathered, n_clusters, n_init, seed)
    return group.broadcast(centroids, name="centroids")


def _fit(
    points: npt.NDArray[np.float32], n_clusters: int, n_init: int, seed: int
) -> npt.NDArray[np.float32]:
    from sklearn.cluster import KMeans  # rank 0 alone needs it

    distinct = np.unique(points, axis=0)
    if len(distinct) < n_clusters:
        # A collapsed embedding: the missing centroids repeat the ones there are.
        return np.asarray(distinct[np.arange(n_clusters) % len(distinct)])
    fit = KMeans(n_clusters, n_init=n_init, random_state=seed).fit(points)
    return np.asarray(fit.cluster_centers_, np.float32)
