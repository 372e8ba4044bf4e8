"""Agreement of clusters and classes, counted piece by piece as jets come."""

import numpy as np

from ucluster_tune.data.format.packed import IntArray
from ucluster_tune.training.metrics import Confusion, batched_accuracies, confusion_matrix


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
