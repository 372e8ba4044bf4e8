"""What needs no network: the numbers that a clustering of embeddings has to beat."""

from typing import Any

import numpy as np

from ucluster_tune.data.reading.dataset import JetDataset
from ucluster_tune.training.mass_clusters import intervals_of, kmeans_thresholds
from ucluster_tune.training.metrics import (
    batched_accuracies,
    cluster_quality,
    confusion_matrix,
)


def kmeans_mass(
    dataset: JetDataset, split: str, n_clusters: int, evaluation_batch_size: int, seed: int
) -> dict[str, Any]:
    """Return the quality of k-means on the jet mass alone, as plain values.

    The centres are those of the training jets; the jets of `split` go to the nearest one.
    """
    train_mass_gev, _ = dataset.read_masses("train")
    mass_gev, jet_class = dataset.read_masses(split)
    cluster = intervals_of(mass_gev, kmeans_thresholds(train_mass_gev, n_clusters, seed))
    shape = (n_clusters, len(dataset.class_names))
    confusion = confusion_matrix(cluster, jet_class, *shape)
    in_batches = batched_accuracies(cluster, jet_class, *shape, evaluation_batch_size)
    quality = cluster_quality(confusion, float(np.mean(in_batches)))
    return {**vars(quality), "confusion": confusion.tolist(), "split": split}
