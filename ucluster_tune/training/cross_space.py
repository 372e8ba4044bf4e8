"""Clusterings scored without labels, each in the embeddings of other networks.

A score in a network's own embedding flatters it: training moves the embedding until it looks
clustered. How well a clustering separates jets where another network, trained by itself, has put
them was not what it was trained for. The idea is that of "Deep Clustering Evaluation" (Wang and
Ye, arXiv:2403.14830); what is scored and how ranks are put together is our own, see
`cross_space_ranks`. Knows nothing of studies, files or TensorFlow.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def separation(embedding: npt.NDArray[Any], cluster: npt.NDArray[Any]) -> float:
    """Return how well a clustering separates jets in an embedding, whosever it is: -1 to 1.

    Mean over the jets of (b - a) / max(a, b), with the distance a to the mean of the jet's own
    cluster and b to the nearest mean of another one: the simplified silhouette
    (doi:10.1109/TEVC.2006.877150), with clusters that need not be those of the nearest mean, so
    that it may be negative. It has no scale. One cluster, which separates nothing, has -1; where
    all jets are at one place, or somewhere not finite, it is NaN.

    Args:
        embedding: float [jet, dim].
        cluster: int [jet].

    >>> separation(np.array([[0.0], [1.0], [9.0], [10.0]]), np.array([0, 0, 1, 1]))
    0.9442724458204333
    >>> separation(np.array([[0.0], [1.0], [9.0], [10.0]]), np.array([0, 1, 0, 1])) < 0
    True
    """
    _, which = np.unique(cluster, return_inverse=True)
    counts = np.bincount(which)
    points = np.asarray(embedding, np.float64)
    if not np.isfinite(points).all() or not np.ptp(points, axis=0).any():
        return float("nan")
    if len(counts) < 2:
        return -1.0
    is_in = np.eye(len(counts))[which]
    means = is_in.T @ points / counts[:, np.newaxis]
    distances = np.sqrt(((points[:, np.newaxis] - means) ** 2).sum(axis=2))
    own = distances[np.arange(len(which)), which]
    others = np.where(is_in > 0, np.inf, distances).min(axis=1)
    larger = np.maximum(own, others)
    told = np.divide(others - own, larger, out=np.zeros_like(own), where=larger > 0)
    return float(told.mean())


def cross_space_ranks(
    clusterings: Sequence[npt.NDArray[Any]],
    embeddings: Sequence[npt.NDArray[Any]],
    owner: Sequence[int],
    owner_of_embedding: Sequence[int],
) -> Floats:
    """Return how high each clustering ranks in the embeddings of others: float64 [clustering].

    In each embedding s, the clusterings of all other owners are ranked by their `separation`
    there; r_s(c), from 0 for the lowest to 1 for the highest, is the share of the others that c
    is above, equal ones counting by half. The result is the mean of r_s(c) over all embeddings s
    that are not of c's own owner: a Borda count, for which no embedding's scale matters. NaN where
    there is no such embedding with two clusterings of different owners to compare.

    Args:
        clusterings: int [jet] each, of the same jets.
        embeddings: float [jet, dim] each, of the same jets; dims may differ.
        owner: of each clustering, such as a trial of which several epochs are here.
        owner_of_embedding: of each embedding.
    """
    from scipy.stats import rankdata

    owners = np.asarray(owner)
    ranks = np.full((len(embeddings), len(clusterings)), np.nan)
    for row, (embedding, of) in enumerate(zip(embeddings, owner_of_embedding, strict=True)):
        scores = np.array(
            [
                np.nan if owners[i] == of else separation(embedding, cluster)
                for i, cluster in enumerate(clusterings)
            ]
        )
        is_told = np.isfinite(scores)
        if len(set(owners[is_told].tolist())) > 1:
            ranks[row, is_told] = (rankdata(scores[is_told]) - 1) / (is_told.sum() - 1)
    n_told = np.isfinite(ranks).sum(axis=0)
    return np.where(n_told > 0, np.nansum(ranks, axis=0) / np.maximum(n_told, 1), np.nan)
