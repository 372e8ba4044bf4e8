"""How well clusters agree with classes, from a confusion matrix of [cluster, class].

Every matrix here may be the sum of those of several ranks.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from ucluster_tune.data.format.packed import IntArray

Confusion = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClusterQuality:
    """See `EpochRecord` for the meaning of each."""

    clustering_accuracy: float
    clustering_accuracy_batched: float
    purity: float
    nmi: float
    ari: float


NO_QUALITY: Final = ClusterQuality(*[math.nan] * 5)
"""Of jets without classes, with which no clusters can agree."""


def confusion_matrix(
    cluster: npt.NDArray[np.int64],
    jet_class: npt.NDArray[np.int64],
    n_clusters: int,
    n_classes: int,
) -> Confusion:
    """Return int64 [cluster, class]: numbers of jets."""
    cells = np.bincount(cluster * n_classes + jet_class, minlength=n_clusters * n_classes)
    return cells.reshape(n_clusters, n_classes).astype(np.int64)


def clustering_accuracy(confusion: Confusion) -> float:
    """Return the share of jets on the best one-to-one matching of clusters to classes.

    >>> clustering_accuracy(np.array([[0, 3], [5, 2]]))
    0.8
    """
    clusters, classes = linear_sum_assignment(confusion, maximize=True)
    return float(confusion[clusters, classes].sum() / max(confusion.sum(), 1))


def batched_accuracies(
    cluster: npt.NDArray[np.int64],
    jet_class: npt.NDArray[np.int64],
    n_clusters: int,
    n_classes: int,
    batch_size: int,
) -> list[float]:
    """Return the clustering accuracy inside each batch, matched anew in each.

    As published, jets that fill no batch are left out; fewer jets than one batch are one batch.
    """
    n_batches = max(len(cluster) // batch_size, 1)
    return [
        clustering_accuracy(
            confusion_matrix(cluster[part], jet_class[part], n_clusters, n_classes)
        )
        for part in (
            slice(index * batch_size, (index + 1) * batch_size) for index in range(n_batches)
        )
    ]


def silhouettes(squared_distances: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the simplified silhouette of each jet: float64 [jet], 0 to 1; it needs no labels.

    (b - a) / b with the distances a to the nearest centroid and b to the second one, as Hruschka
    and others have it (doi:10.1109/TEVC.2006.877150); 0 where they are equal or not finite.

    Args:
        squared_distances: [jet, cluster].

    >>> silhouettes(np.array([[1.0, 9.0, 16.0], [4.0, 4.0, 9.0]])).round(3).tolist()
    [0.667, 0.0]
    """
    nearest = np.sqrt(np.partition(np.asarray(squared_distances, np.float64), 1, axis=1)[:, :2])
    own, next_one = nearest[:, 0], nearest[:, 1]
    is_told = np.isfinite(nearest).all(axis=1) & (next_one > 0)
    return np.where(is_told, 1 - own / np.where(is_told, next_one, 1.0), 0.0)


def cluster_quality(confusion: Confusion, accuracy_batched: float) -> ClusterQuality:
    """Return all numbers that describe a clustering.

    Args:
        confusion: over all jets.
        accuracy_batched: mean of `batched_accuracies`.
    """
    return ClusterQuality(
        clustering_accuracy=clustering_accuracy(confusion),
        clustering_accuracy_batched=accuracy_batched,
        purity=float(confusion.max(axis=1).sum() / max(confusion.sum(), 1)),
        nmi=normalized_mutual_information(confusion),
        ari=adjusted_rand_index(confusion),
    )


def normalized_mutual_information(confusion: Confusion) -> float:
    """Return the mutual information of clusters and classes over the mean of their entropies.

    Not by scikit-learn, whose import takes a second of a trial's start. As there, it is 1 for one
    cluster of one class.

    >>> normalized_mutual_information(np.array([[0, 3], [5, 0]]))
    1.0
    """
    joint = confusion / max(confusion.sum(), 1)
    entropy = _entropy(joint.sum(axis=1)) + _entropy(joint.sum(axis=0))
    if entropy == 0:
        return 1.0
    return float(np.clip(2 * (1 - _entropy(joint) / entropy), 0, 1))


def _entropy(shares: npt.NDArray[np.float64]) -> float:
    """Return the entropy of shares that add up to 1, in nats."""
    present = shares[shares > 0]
    return float(-(present * np.log(present)).sum())


def adjusted_rand_index(confusion: Confusion) -> float:
    """Return the share of pairs of jets that clusters and classes treat alike, less chance.

    Hubert and Arabie, J. Classification 2, 193 (1985), equation 5. Not by scikit-learn, as above.

    >>> adjusted_rand_index(np.array([[0, 3], [5, 0]]))
    1.0
    """
    together, in_cluster, in_class, of_all = (
        float((n * (n - 1) / 2).sum())
        for n in (
            confusion,
            confusion.sum(axis=1),
            confusion.sum(axis=0),
            confusion.sum(keepdims=True),
        )
    )
    by_chance = in_cluster * in_class / max(of_all, 1.0)
    largest = (in_cluster + in_class) / 2
    return 1.0 if largest == by_chance else (together - by_chance) / (largest - by_chance)


class ClusterCounts:
    """Counts jets by cluster and class, all together and in batches; keeps less than one batch.

    Args:
        n_clusters: rows.
        n_classes: columns.
        batch_size: of the published protocol; see `batched_accuracies`.

    Attributes:
        confusion: int64 [cluster, class]; numbers of jets so far.
    """

    def __init__(self, n_clusters: int, n_classes: int, batch_size: int) -> None:
        self._shape, self._batch_size = (n_clusters, n_classes), batch_size
        self.confusion: Confusion = np.zeros(self._shape, np.int64)
        self._rest = (np.zeros(0, np.int64), np.zeros(0, np.int64))
        self._sum_of_accuracies = 0.0
        self._n_batches = 0

    def add(self, cluster: IntArray, jet_class: IntArray) -> None:
        """Count the next jets: int64 [jet] each."""
        self.confusion += confusion_matrix(cluster, jet_class, *self._shape)
        cluster = np.concatenate([self._rest[0], cluster])
        jet_class = np.concatenate([self._rest[1], jet_class])
        n_whole = len(cluster) // self._batch_size * self._batch_size
        if n_whole:
            accuracies = batched_accuracies(
                cluster[:n_whole], jet_class[:n_whole], *self._shape, self._batch_size
            )
            for accuracy in accuracies:
                self._sum_of_accuracies += accuracy
            self._n_batches += len(accuracies)
        self._rest = (cluster[n_whole:], jet_class[n_whole:])

    def batched(self) -> tuple[float, int]:
        """Return the sum of the accuracies in batches and the number of batches, at least 1."""
        if self._n_batches:
            return self._sum_of_accuracies, self._n_batches
        return sum(batched_accuracies(*self._rest, *self._shape, self._batch_size)), 1
