"""k-means on embeddings: the centroids that the clustering phase starts from, and stability."""

import numpy as np
import numpy.typing as npt

from ucluster_tune.training.group import Group
from ucluster_tune.training.metrics import adjusted_rand_index, confusion_matrix

_N_STARTS = 10  # on each half; after one alone, a poor start would pass for an unstable embedding


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


def stability(embedding: npt.NDArray[np.float32], n_clusters: int, seed: int) -> float:
    """Return how alike clusters found on two halves of the jets are, 1 for equal; needs no labels.

    The jets are cut at random into two halves H1 and H2. k-means, begun anew on each, gives
    centroids M1 and M2, and with them two clusterings of all jets: c1(j) and c2(j), the nearest
    centroid of M1 and of M2. The stability is their adjusted Rand index, ARI(c1, c2): about 0 for
    centroids that chance has placed, 1 where both halves tell of the same clusters. After Lange
    and others (doi:10.1162/089976604773717621), who train a classifier on one half where here the
    nearest centroid decides, and scale by chance in another way.

    It is about the embedding, whose cuts may be sharp and yet not those between classes. An
    embedding with fewer distinct points than clusters, or one that is not finite, has 0.

    Args:
        embedding: float32 [jet, dim].
        n_clusters: of k-means.
        seed: of the halves and of the starts.
    """
    from scipy.cluster.vq import kmeans, vq  # on one thread: many take longer for a thousand jets

    halves = np.array_split(np.random.default_rng(seed).permutation(len(embedding)), 2)
    if not np.isfinite(embedding).all():
        return 0.0
    if any(len(np.unique(embedding[half], axis=0)) < n_clusters for half in halves):
        return 0.0
    clusterings = []
    for half in halves:
        centroids, _ = kmeans(embedding[half], n_clusters, iter=_N_STARTS, rng=seed)
        clusterings.append(vq(embedding, centroids)[0].astype(np.int64))
    first, second = clusterings
    return adjusted_rand_index(confusion_matrix(first, second, n_clusters, n_clusters))


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
